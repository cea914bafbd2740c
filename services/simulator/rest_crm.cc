#include "services/simulator/rest_crm.h"

#include <algorithm>
#include <array>
#include <utility>

#include "services/simulator/json_text.h"

namespace tributary::simulator {
namespace {

constexpr std::array<std::string_view, 6> kTexts = {"client_id", "name",         "email",
                                                    "phone",     "organization", "status"};
constexpr std::array<std::string_view, 3> kSections = {"account", "reporting", "custom"};

std::string FieldError(std::string_view field, std::string_view message) {
  return "{\"field\":" + Quoted(field) + ",\"message\":" + Quoted(message) + "}";
}

// True: `a` is older. Versions are numbers joined by dots.
bool IsOlder(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    const std::size_t left = a.find('.');
    const std::size_t right = b.find('.');
    const std::int64_t x = ParseInteger(a.substr(0, left)).value_or(0);
    const std::int64_t y = ParseInteger(b.substr(0, right)).value_or(0);
    if (x != y) return x < y;
    a = left == std::string_view::npos ? std::string_view() : a.substr(left + 1);
    b = right == std::string_view::npos ? std::string_view() : b.substr(right + 1);
  }
  return false;
}

}  // namespace

RestCrm::RestCrm(const WorldOptions& options)
    : options_(options),
      random_(options.seed, 21),
      key_("rest-" + options.tenant + "-" + std::to_string(random_.Below(1'000'000'000))) {}

Answer RestCrm::Json(int status, std::string body) const {
  Answer answer;
  answer.status = status;
  answer.headers = {{"Content-Type", "application/json"}};
  answer.body = std::move(body);
  answer.delay = options_.answer_delay;
  return answer;
}

Answer RestCrm::Handle(WallTime now, const Asked& asked, bool* applied) {
  const std::string_view authorization = asked.Header("Authorization");
  if (asked.path == "/auth") {
    if (asked.method != "POST") return Json(405, R"({"error":"method not allowed"})");
    std::optional<std::string> plain;
    if (authorization.substr(0, 6) == "Basic ") plain = Base64Decode(authorization.substr(6));
    if (!plain || *plain != key_ + ":") return Json(401, R"({"error":"invalid key"})");
    std::erase_if(tokens_, [&](const auto& token) { return token.second <= now; });
    const std::string token = "tok-" + std::to_string(HashText(key_, random_.Next()));
    tokens_[token] = now + options_.rest_token_lifetime;
    return Json(200, "{\"token\":" + Quoted(token) + ",\"expires_in\":" +
                         std::to_string(options_.rest_token_lifetime.count() / 1'000'000) + "}");
  }
  const auto token = authorization.substr(0, 7) == "Bearer "
                         ? tokens_.find(std::string(authorization.substr(7)))
                         : tokens_.end();
  if (token == tokens_.end() || token->second <= now) {
    return Json(401, R"({"error":"token expired"})");
  }
  const std::vector<std::string>& path = asked.segments;
  if (path.empty() || path[0] != "clients" || path.size() > 3) {
    return Json(404, R"({"error":"not found"})");
  }
  if (path.size() == 2 && path[1] == "batch" && asked.method == "POST")
    return Batch(now, asked, applied);
  if (path.size() == 3 && path[2] == "notes") return Notes(asked, applied);
  if (path.size() != 2) return Json(404, R"({"error":"not found"})");
  if (asked.method == "GET") {
    const auto found = by_id_.find(path[1]);
    if (found == by_id_.end()) return Json(404, R"({"error":"no such client"})");
    return Json(200, "{\"client\":" + clients_[found->second].document + "}");
  }
  if (asked.method != "PUT") return Json(405, R"({"error":"method not allowed"})");
  if (asked.Header("Content-Type").substr(0, 16) != "application/json") {
    return Json(415, R"({"error":"JSON is expected"})");
  }
  const auto body = json::Parse(asked.body);
  if (!body.ok() || body->object() == nullptr) {
    return Json(400, R"({"error":"the body is no JSON object"})");
  }
  const Written written = Write(now, path[1], *body, asked.Header("Record-Version"));
  if (!written.errors.empty()) return Json(written.status, "{\"errors\":[" + written.errors + "]}");
  *applied = true;
  return Json(written.status, "{\"client\":" + clients_[written.index].document + "}");
}

RestCrm::Written RestCrm::Write(WallTime now, std::string_view client_id, const json::Value& body,
                                std::string_view version) {
  Written written;
  const auto refuse = [&](std::string_view field, std::string_view message) {
    written.status = 422;
    if (!written.errors.empty()) written.errors += ",";
    written.errors += FieldError(field, message);
  };
  for (const auto& [name, value] : *body.object()) {
    if (Holds(kTexts, name)) {
      if (!value.is_null() && value.string() == nullptr) refuse(name, "must be a text");
    } else if (Holds(kSections, name)) {
      if (!value.is_null() && value.object() == nullptr) refuse(name, "must be an object");
    } else {
      refuse(name, "is not known");
    }
  }
  const json::Value* own_id = body.Find("client_id");
  if (own_id != nullptr && own_id->string() != nullptr && *own_id->string() != client_id) {
    refuse("client_id", "differs from the path");
  }
  if (!written.errors.empty()) return written;

  const auto found = by_id_.find(std::string(client_id));
  const bool is_new = found == by_id_.end();
  json::Value document = json::Object{};
  if (!is_new) {
    written.index = found->second;
    const Client& old = clients_[written.index];
    if (options_.switches.rest_conditional && !version.empty() && IsOlder(version, old.version)) {
      written.status = 409;
      written.errors = FieldError("version", "is older than what is stored");
      return written;
    }
    if (auto parsed = json::Parse(old.document); parsed.ok()) document = *std::move(parsed);
  } else {
    written.index = static_cast<std::uint32_t>(clients_.size());
    clients_.push_back({std::string(client_id), "", ""});
    by_id_.emplace(client_id, written.index);
  }
  document.Set("client_id", client_id);
  for (const auto& [name, value] : *body.object()) {
    if (name != "client_id") document.Set(name, value);
  }
  Client& client = clients_[written.index];
  client.document = json::Write(document);
  if (!version.empty()) client.version = version;
  written.status = is_new ? 201 : 200;
  const Flat flat = Flattened(client);
  marks_.push_back({.at = now,
                    .record = written.index,
                    .customer = HashOfPart(flat, Part::kCustomer),
                    .subscriptions = HashOfPart(flat, Part::kSubscriptions)});
  return written;
}

Answer RestCrm::Batch(WallTime now, const Asked& asked, bool* applied) {
  const auto body = json::Parse(asked.body);
  const json::Value* clients = body.ok() ? body->Find("clients") : nullptr;
  if (clients == nullptr || clients->array() == nullptr) {
    return Json(400, R"({"error":"clients must be a list"})");
  }
  if (clients->array()->size() > 100) return Json(413, R"({"error":"at most 100 clients"})");
  std::vector<std::string> results;
  for (const json::Value& item : *clients->array()) {
    const json::Value* id = item.Find("client_id");
    std::string result;
    ObjectText object(result);
    if (id == nullptr || id->string() == nullptr) {
      object.Null("client_id");
      object.Integer("status", 422);
      object.Text("error", "client_id is missing");
    } else {
      const Written written = Write(now, *id->string(), item, "");
      object.Text("client_id", *id->string());
      object.Integer("status", written.status);
      if (written.errors.empty()) {
        *applied = true;
        object.Null("error");
      } else {
        object.Raw("error", "[" + written.errors + "]");
      }
    }
    object.End();
    if (options_.switches.rest_batch_leaves_out && random_.Chance(0.1)) continue;
    results.push_back(std::move(result));
  }
  // In an order that says nothing.
  for (std::size_t i = results.size(); i > 1; --i) {
    std::swap(results[i - 1],
              results[static_cast<std::size_t>(random_.Below(static_cast<std::int64_t>(i)))]);
  }
  std::string out = "{\"results\":[";
  for (const std::string& result : results) {
    if (out.back() != '[') out += ",";
    out += result;
  }
  return Json(200, out + "]}");
}

Answer RestCrm::Notes(const Asked& asked, bool* applied) {
  const std::string& client = asked.segments[1];
  if (by_id_.find(client) == by_id_.end()) return Json(404, R"({"error":"no such client"})");
  const auto write = [](const Note& note) {
    return "{\"id\":" + Quoted(note.id) + ",\"client_id\":" + Quoted(note.client_id) +
           ",\"text\":" + Quoted(note.text) +
           ",\"external_id\":" + (note.external_id.empty() ? "null" : Quoted(note.external_id)) +
           "}";
  };
  if (asked.method == "GET") {
    const std::string* external_id = asked.Parameter("external_id");
    std::string out = "{\"notes\":[";
    for (const std::uint32_t i : notes_of_[client]) {
      if (external_id != nullptr && notes_[i].external_id != *external_id) continue;
      if (out.back() != '[') out += ",";
      out += write(notes_[i]);
    }
    return Json(200, out + "]}");
  }
  if (asked.method != "POST") return Json(405, R"({"error":"method not allowed"})");
  const auto body = json::Parse(asked.body);
  if (!body.ok() || body->object() == nullptr) {
    return Json(400, R"({"error":"the body is no JSON object"})");
  }
  Note note;
  std::string errors;
  for (const auto& [name, value] : *body->object()) {
    if (name != "text" && name != "external_id") {
      errors += (errors.empty() ? "" : ",") + FieldError(name, "is not known");
    } else if (value.string() == nullptr) {
      errors += (errors.empty() ? "" : ",") + FieldError(name, "must be a text");
    } else {
      (name == "text" ? note.text : note.external_id) = *value.string();
    }
  }
  if (errors.empty() && note.text.empty()) errors = FieldError("text", "is missing");
  if (!errors.empty()) return Json(422, "{\"errors\":[" + errors + "]}");
  *applied = true;
  note.id = "n" + std::to_string(notes_.size() + 1);
  note.client_id = client;
  notes_of_[client].push_back(static_cast<std::uint32_t>(notes_.size()));
  notes_.push_back(std::move(note));
  return Json(201, "{\"note\":" + write(notes_.back()) + "}");
}

void RestCrm::WriteRecords(std::string& out) const {
  ObjectText object(out);
  object.Key("clients");
  out += "[";
  for (const Client& client : clients_) {
    if (out.back() != '[') out += ",";
    out += client.document;
  }
  out += "]";
  object.Key("notes");
  out += "[";
  for (const Note& note : notes_) {
    if (out.back() != '[') out += ",";
    out += "{\"id\":" + Quoted(note.id) + ",\"client_id\":" + Quoted(note.client_id) +
           ",\"text\":" + Quoted(note.text) + ",\"external_id\":" + Quoted(note.external_id) + "}";
  }
  out += "]";
  object.End();
}

Flat RestCrm::Flattened(const Client& client) {
  Flat flat;
  if (const auto document = json::Parse(client.document); document.ok()) {
    Flatten("", *document, flat);
  }
  return flat;
}

}  // namespace tributary::simulator
