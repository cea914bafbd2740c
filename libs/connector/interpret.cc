#include "libs/connector/interpret.h"

#include <algorithm>
#include <unordered_map>

#include "libs/utf8/utf8.h"

namespace tributary::connector {
namespace {

using http::AnswerClass;
using http::Delivery;

constexpr std::size_t kDetailBytesMax = 4096;

/// The one place where a person would look: `message` (a text or a list), `error`, `errors`.
std::string MessageOf(const json::Value& body) {
  for (const char* name : {"message", "error", "errors"}) {
    const json::Value* value = body.Find(name);
    if (value == nullptr || value->is_null()) continue;
    if (const std::string* text = value->string()) return *text;
    return json::Write(*value);
  }
  return "";
}

const AnswerRule* FindRule(const std::vector<AnswerRule>& rules, int status,
                           std::string_view body) {
  for (const AnswerRule& rule : rules) {
    if (rule.status != 0 && rule.status != status) continue;
    if (!rule.text.empty() && body.find(rule.text) == std::string_view::npos) continue;
    // A text alone speaks of refusals; a good answer may quote anything.
    if (rule.status == 0 && status < 400) continue;
    return &rule;
  }
  return nullptr;
}

void Obey(const AnswerRule& rule, const std::optional<json::Value>& body, Interpreted& out) {
  using Means = AnswerRule::Means;
  switch (rule.means) {
    case Means::kDone:
      out.answer = AnswerClass::kDone;
      return;
    case Means::kRefused:
      out.answer = AnswerClass::kRefused;
      return;
    case Means::kMissing:
      out.answer = AnswerClass::kRefused;
      out.missing = true;
      return;
    case Means::kDuplicate: {
      const json::Value* id = body ? body->FindPath(rule.id) : nullptr;
      const std::optional<std::string> text = id == nullptr ? std::nullopt : id->ToIdText();
      out.answer = AnswerClass::kRefused;
      if (text) out.adopt_id = *text;
      return;
    }
    case Means::kUnauthorised:
      out.answer = AnswerClass::kUnauthorised;
      return;
    case Means::kMisconfigured:
      out.answer = AnswerClass::kRefused;
      out.misconfigured = true;
      return;
    case Means::kThrottled:
      out.answer = AnswerClass::kThrottled;
      return;
    case Means::kUnknown:
      out.answer = AnswerClass::kUnknown;
      return;
  }
}

std::optional<json::Value> ParseBody(const http::Completion& completion) {
  if (completion.delivery != Delivery::kComplete) return std::nullopt;
  absl::StatusOr<json::Value> parsed = json::Parse(completion.body);
  if (!parsed.ok()) return std::nullopt;
  return *std::move(parsed);
}

bool IsSuccess(const http::Completion& completion) {
  return completion.delivery == Delivery::kComplete && completion.status >= 200 &&
         completion.status < 300;
}

/// `body` is the parsed one; `promised`: it has what the call promises.
Interpreted Judge(const Connector& connector, const Call& call, const http::Completion& completion,
                  const std::optional<json::Value>& body, bool promised, WallTime now_wall) {
  const http::Classified base =
      http::Classify(completion, promised, call.creates_or_acts, now_wall);
  Interpreted out;
  out.answer = base.answer;
  out.retry_after = base.retry_after;
  out.evidence = base.evidence;
  out.unreadable = IsSuccess(completion) && !promised;
  if (completion.delivery == Delivery::kComplete) {
    const AnswerRule* rule = FindRule(call.answers, completion.status, completion.body);
    if (rule == nullptr) rule = FindRule(connector.answers, completion.status, completion.body);
    if (rule != nullptr) Obey(*rule, body, out);
  }
  const std::string message = body && !IsSuccess(completion) ? MessageOf(*body) : "";
  out.detail =
      utf8::Cleaned(out.evidence + (message.empty() ? "" : ": " + message), kDetailBytesMax);
  return out;
}

bool LeafEquals(const json::Value& value, std::string_view text, bool contains) {
  if (const json::Array* array = value.array()) {
    return std::any_of(array->begin(), array->end(),
                       [&](const json::Value& item) { return LeafEquals(item, text, contains); });
  }
  if (const json::Object* object = value.object()) {
    return std::any_of(object->begin(), object->end(), [&](const auto& member) {
      return LeafEquals(member.second, text, contains);
    });
  }
  const std::optional<std::string> leaf = value.ToIdText();
  if (!leaf) return false;
  return contains ? leaf->find(text) != std::string::npos : *leaf == text;
}

}  // namespace

Interpreted Interpret(const Connector& connector, const Call& call,
                      const http::Completion& completion, WallTime now_wall) {
  const std::optional<json::Value> body = ParseBody(completion);
  std::string id;
  bool promised = body.has_value();
  if (body && !call.id.empty()) {
    const json::Value* value = body->FindPath(call.id);
    id = value == nullptr ? "" : value->ToIdText().value_or("");
    promised = !id.empty();
  }
  if (body && !call.holds.empty() && body->FindPath(call.holds) == nullptr) promised = false;
  Interpreted out = Judge(connector, call, completion, body, promised, now_wall);
  if (out.answer != AnswerClass::kDone) return out;
  out.id = std::move(id);
  const json::Value* tags = call.tags.empty() || !body ? nullptr : body->FindPath(call.tags);
  if (tags != nullptr && tags->array() != nullptr) {
    out.tags.emplace();
    for (const json::Value& tag : *tags->array()) {
      if (const std::string* text = tag.string()) out.tags->push_back(*text);
    }
  }
  return out;
}

std::vector<Interpreted> InterpretBatch(const Connector& connector, const Object& object,
                                        const http::Completion& completion,
                                        const std::vector<std::string>& keys, WallTime now_wall) {
  const Batch& batch = *object.batch;
  const std::optional<json::Value> body = ParseBody(completion);
  const json::Value* results = body ? body->FindPath(batch.results) : nullptr;
  const json::Array* items = results == nullptr ? nullptr : results->array();
  const Interpreted whole =
      Judge(connector, batch.call, completion, body, items != nullptr, now_wall);
  std::vector<Interpreted> out(keys.size(), whole);
  if (whole.answer != AnswerClass::kDone || items == nullptr) return out;
  struct Result {
    const json::Value* item = nullptr;
    std::size_t count = 0;
  };
  std::unordered_map<std::string, Result> by_key;
  for (const json::Value& item : *items) {
    const json::Value* key = item.Find(batch.result_key);
    const std::optional<std::string> text = key == nullptr ? std::nullopt : key->ToIdText();
    if (!text) continue;
    Result& result = by_key[*text];
    result.item = &item;
    ++result.count;
  }
  const bool has_rules = !batch.call.answers.empty() || !connector.answers.empty();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto found = by_key.find(keys[i]);
    const json::Value* mine = found == by_key.end() ? nullptr : found->second.item;
    const std::size_t count = found == by_key.end() ? 0 : found->second.count;
    const json::Value* status = mine == nullptr ? nullptr : mine->Find(batch.result_status);
    const std::optional<std::int64_t> code = status == nullptr ? std::nullopt : status->ToInt64();
    if (count != 1 || !code || *code < 100 || *code > 599) {
      out[i].answer = AnswerClass::kUnknown;
      out[i].evidence = count > 1 ? "two results in the batch" : "no result in the batch";
      out[i].detail = out[i].evidence;
      continue;
    }
    http::Completion single;
    single.delivery = Delivery::kComplete;
    single.status = static_cast<int>(*code);
    const bool success = *code >= 200 && *code < 300;
    if (!success) single.headers = completion.headers;
    // Only rules look into it.
    if (has_rules) single.body = json::Write(*mine);
    out[i] = Judge(connector, batch.call, single, *mine, success, now_wall);
    out[i].evidence = "in a batch: " + out[i].evidence;
    const json::Value* error =
        batch.result_error.empty() || success ? nullptr : mine->Find(batch.result_error);
    if (error != nullptr && !error->is_null()) {
      out[i].detail =
          utf8::Cleaned(out[i].evidence + ": " +
                            (error->string() != nullptr ? *error->string() : json::Write(*error)),
                        kDetailBytesMax);
    }
    if (out[i].answer == AnswerClass::kDone) out[i].id = keys[i];
  }
  return out;
}

Found InterpretLookup(const Connector& connector, const Call& call,
                      const http::Completion& completion, std::string_view equals,
                      std::string_view contains, WallTime now_wall) {
  const std::optional<json::Value> body = ParseBody(completion);
  const bool one = call.items.empty();
  const json::Value* at = body ? body->FindPath(one ? call.item : call.items) : nullptr;
  const bool promised =
      at != nullptr && (one ? at->is_null() || at->object() != nullptr : at->array() != nullptr);
  Found found;
  found.answer = Judge(connector, call, completion, body, promised, now_wall);
  const bool not_there = completion.delivery == Delivery::kComplete && completion.status == 404 &&
                         !found.answer.misconfigured;
  if (not_there || found.answer.missing) {
    found.answer.answer = AnswerClass::kDone;
    return found;
  }
  if (found.answer.answer != AnswerClass::kDone || at == nullptr) return found;
  json::Array items;
  if (one) {
    if (!at->is_null()) items.push_back(*at);
  } else {
    items = *at->array();
  }
  for (const json::Value& item : items) {
    if (!equals.empty() && !LeafEquals(item, equals, false)) continue;
    if (!contains.empty() && !LeafEquals(item, contains, true)) continue;
    const json::Value* id = item.FindPath(call.item_id);
    const std::optional<std::string> text = id == nullptr ? std::nullopt : id->ToIdText();
    if (!text || text->empty()) {
      found.answer.answer = AnswerClass::kUnknown;
      found.answer.unreadable = true;
      found.answer.evidence += ", an item has no id";
      found.answer.detail = found.answer.evidence;
      return found;
    }
    found.ids.push_back(*text);
  }
  return found;
}

TokenAnswer InterpretToken(const Connector& connector, const http::Completion& completion,
                           WallTime now_wall) {
  const Authentication& authentication = connector.authentication;
  const std::optional<json::Value> body = ParseBody(completion);
  const json::Value* token = body ? body->FindPath(authentication.token) : nullptr;
  const bool promised = token != nullptr && token->string() != nullptr && !token->string()->empty();
  TokenAnswer out;
  out.answer = Judge(connector, authentication.request, completion, body, promised, now_wall);
  if (out.answer.answer != AnswerClass::kDone || !promised) return out;
  out.token = *token->string();
  const json::Value* expires =
      authentication.expires_in.empty() ? nullptr : body->FindPath(authentication.expires_in);
  const std::optional<std::int64_t> seconds =
      expires == nullptr ? std::nullopt : expires->ToInt64();
  if (seconds && *seconds >= 0 && *seconds <= 365 * 86'400) {
    out.expires_in = std::chrono::seconds(*seconds);
  }
  return out;
}

bool SaysThrottled(const Connector& connector, const Call* call,
                   const http::Completion& completion) {
  // The rest of the answer may be missing; the status came.
  if (completion.delivery != Delivery::kComplete) return completion.status == 429;
  const AnswerRule* rule =
      call == nullptr ? nullptr : FindRule(call->answers, completion.status, completion.body);
  if (rule == nullptr) rule = FindRule(connector.answers, completion.status, completion.body);
  return rule != nullptr ? rule->means == AnswerRule::Means::kThrottled : completion.status == 429;
}

}  // namespace tributary::connector
