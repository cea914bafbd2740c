#include "libs/connector/render.h"

#include <algorithm>

#include "libs/ids/keys.h"

namespace tributary::connector {
namespace {

constexpr std::string_view kFields = "fields.";
constexpr std::string_view kArguments = "arguments.";
constexpr std::string_view kSettings = "settings.";
constexpr std::string_view kCredentials = "credentials.";

absl::Status Bad(const std::string& text) { return absl::InvalidArgumentError(text); }

Lookup LookupOf(const Account& account, const CallInput& input) {
  return [&account, &input](std::string_view name) -> std::optional<json::Value> {
    if (name == "record.id") {
      if (input.id.empty()) return std::nullopt;
      return json::Value(input.id);
    }
    if (name == "marker") {
      if (input.marker.empty()) return std::nullopt;
      return json::Value(input.marker);
    }
    if (name == "tags") {
      json::Array tags;
      for (const std::string& tag : input.tags) tags.emplace_back(tag);
      return json::Value(std::move(tags));
    }
    if (name.starts_with(kFields) && input.state != nullptr) {
      const v1::FieldValue* value = FindField(*input.state, name.substr(kFields.size()));
      if (value == nullptr) return std::nullopt;
      return JsonOf(*value);
    }
    if (name.starts_with(kArguments) && input.action != nullptr) {
      for (const v1::Field& field : input.action->arguments()) {
        if (field.path() == name.substr(kArguments.size())) return JsonOf(field.value());
      }
      return std::nullopt;
    }
    if (name.starts_with(kSettings)) {
      const auto found = account.settings.find(std::string(name.substr(kSettings.size())));
      if (found == account.settings.end()) return std::nullopt;
      return json::Value(found->second);
    }
    return std::nullopt;
  };
}

/// The member of that name, made if there is none.
json::Value& Member(json::Value& body, std::string_view name) {
  for (auto& [member, value] : *body.object()) {
    if (member == name) return value;
  }
  return body.Set(name, json::Value());
}

/// `account.balance` below `account`; pairs into their array; the rest at the top.
absl::Status PlaceField(const Object& object, const v1::Field& field, json::Value& body) {
  const bool is_null = field.value().kind_case() == v1::FieldValue::kNull;
  if (is_null && field.on_null() != v1::Field::ON_NULL_CLEAR) return absl::OkStatus();
  const std::string& path = field.path();
  const std::string problem = object.CheckField(path);
  if (!problem.empty()) return Bad(problem);
  json::Value value = JsonOf(field.value());
  const std::size_t dot = path.find('.');
  if (dot == std::string::npos) {
    if (is_null && object.not_clearable.contains(path)) return absl::OkStatus();
    const auto clear = object.clears.find(path);
    if (is_null && clear != object.clears.end()) value = clear->second;
    body.Set(path, std::move(value));
    return absl::OkStatus();
  }
  const std::string first = path.substr(0, dot);
  const std::string rest = path.substr(dot + 1);
  json::Value& parent = Member(body, first);
  if (!object.pairs_prefix.empty() && first == object.pairs_prefix) {
    json::Value pair;
    pair.Set(object.pairs_key, json::Value(rest));
    if (is_null) value = object.pairs_clear;
    pair.Set(object.pairs_value, std::move(value));
    if (parent.array() == nullptr) parent = json::Value(json::Array());
    parent.array()->push_back(std::move(pair));
    return absl::OkStatus();
  }
  parent.Set(rest, std::move(value));
  return absl::OkStatus();
}

absl::Status PlaceFields(const Object& object, const Call& call, const v1::DesiredState& state,
                         json::Value& body) {
  if (body.object() == nullptr) body = json::Value(json::Object());
  for (const v1::Field& field : state.fields()) {
    if (!call.only.empty() && !call.only.contains(field.path())) continue;
    if (call.except.contains(field.path())) continue;
    absl::Status placed = PlaceField(object, field, body);
    if (!placed.ok()) return placed;
  }
  return absl::OkStatus();
}

std::string Base64(std::string_view bytes) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8 | (i + k < bytes.size() ? static_cast<std::uint8_t>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      const bool is_padding = i + k > bytes.size();
      out += is_padding ? '=' : kAlphabet[group >> (18 - 6 * k) & 63];
    }
  }
  return out;
}

http::Request NewRequest(const Connector& connector, const Account& account, const Call& call) {
  http::Request request;
  request.method = call.method;
  request.url = account.url;
  request.headers = connector.headers;
  request.allow_insecure_loopback = account.allow_insecure_loopback;
  return request;
}

/// What one sends of a state is, byte for byte, what the other sends of it.
bool SendsTheSameFields(const Call& a, const Call& b) {
  return a.sends_fields && a.body.is_null() && a.only == b.only && a.except == b.except;
}

void SetBody(std::string body, http::Request& request) {
  request.body = std::move(body);
  request.headers.emplace_back("Content-Type", "application/json");
}

}  // namespace

json::Value JsonOf(const v1::FieldValue& value) {
  switch (value.kind_case()) {
    case v1::FieldValue::kBoolean:
      return json::Value(value.boolean());
    case v1::FieldValue::kDecimal:
      return json::Value(json::Number{value.decimal()});
    case v1::FieldValue::kText:
      return json::Value(value.text());
    case v1::FieldValue::kTime:
      return json::Value(value.time());
    case v1::FieldValue::kList: {
      json::Array items;
      for (const v1::FieldValue& item : value.list().items()) items.push_back(JsonOf(item));
      return json::Value(std::move(items));
    }
    case v1::FieldValue::kMap: {
      json::Object members;
      for (const auto& member : value.map().members()) {
        members.emplace_back(member.name(), JsonOf(member.value()));
      }
      return json::Value(std::move(members));
    }
    case v1::FieldValue::kNull:
    case v1::FieldValue::KIND_NOT_SET:
      return {};
  }
  return {};
}

const v1::FieldValue* FindField(const v1::DesiredState& state, std::string_view path) {
  for (const v1::Field& field : state.fields()) {
    if (field.path() != path) continue;
    const auto kind = field.value().kind_case();
    return kind == v1::FieldValue::kNull || kind == v1::FieldValue::KIND_NOT_SET ? nullptr
                                                                                 : &field.value();
  }
  return nullptr;
}

std::string FieldText(const v1::DesiredState& state, std::string_view path) {
  const v1::FieldValue* value = FindField(state, path);
  if (value == nullptr) return "";
  if (value->kind_case() == v1::FieldValue::kText) return value->text();
  return value->kind_case() == v1::FieldValue::kDecimal ? value->decimal() : "";
}

bool Applies(const Call& call, const v1::DesiredState& state) {
  // A call for some fields has nothing to say when the state has none of them.
  const auto is_its_own = [&call](const v1::Field& field) {
    return call.only.contains(field.path()) &&
           std::find(call.needs.begin(), call.needs.end(), field.path()) == call.needs.end();
  };
  if (!call.only.empty() &&
      std::none_of(state.fields().begin(), state.fields().end(), is_its_own)) {
    return false;
  }
  return std::all_of(call.needs.begin(), call.needs.end(), [&state](const std::string& path) {
    const v1::FieldValue* value = FindField(state, path);
    return value != nullptr &&
           !(value->kind_case() == v1::FieldValue::kText && value->text().empty());
  });
}

absl::StatusOr<http::Request> Render(const Connector& connector, const Account& account,
                                     const Object* object, const Call& call,
                                     const CallInput& input) {
  http::Request request = NewRequest(connector, account, call);
  const Lookup lookup = LookupOf(account, input);
  std::string missing;
  const std::optional<std::string> path = call.path.RenderEncoded(lookup, &missing);
  if (!path) return Bad("`" + call.name + "` needs `" + missing + "`, which has no value");
  request.url += *path;
  char separator = '?';
  for (const auto& [name, value] : call.query) {
    const std::optional<std::string> text = value.RenderEncoded(lookup, &missing);
    if (!text) return Bad("`" + call.name + "` needs `" + missing + "`, which has no value");
    request.url += separator + ids::EncodePart(name) + "=" + *text;
    separator = '&';
  }
  if (!call.body.is_null() || call.sends_fields) {
    std::optional<json::Value> body = RenderBody(call.body, lookup, &missing);
    if (!body) return Bad("`" + call.name + "` needs `" + missing + "`, which has no value");
    if (call.sends_fields && object != nullptr && input.state != nullptr) {
      absl::Status placed = PlaceFields(*object, call, *input.state, *body);
      if (!placed.ok()) return placed;
    }
    SetBody(json::Write(*body), request);
  }
  return request;
}

absl::StatusOr<http::Request> RenderBatch(const Connector& connector, const Account& account,
                                          const Object& object,
                                          const std::vector<BatchItem>& items) {
  const Batch& batch = *object.batch;
  CallInput nothing;
  absl::StatusOr<http::Request> request = Render(connector, account, nullptr, batch.call, nothing);
  if (!request.ok()) return request;
  const bool same = SendsTheSameFields(object.update.front(), batch.call);
  std::string body = "{";
  if (const json::Object* fixed = batch.call.body.object()) {
    for (const auto& [name, value] : *fixed) {
      json::AppendQuoted(body, name);
      body += ':' + json::Write(value) + ',';
    }
  }
  json::AppendQuoted(body, batch.items);
  body += ":[";
  for (const BatchItem& item : items) {
    if (&item != &items.front()) body += ',';
    if (same && !item.body.empty()) {
      body += item.body;
      continue;
    }
    json::Value fields;
    absl::Status placed = PlaceFields(object, batch.call, *item.state, fields);
    if (!placed.ok()) return placed;
    body += json::Write(fields);
  }
  body += "]}";
  SetBody(std::move(body), *request);
  return request;
}

absl::StatusOr<http::Request> RenderTokenRequest(const Connector& connector, const Account& account,
                                                 const Credentials& credentials) {
  const Authentication& authentication = connector.authentication;
  http::Request request = NewRequest(connector, account, authentication.request);
  const Lookup lookup = [&](std::string_view name) -> std::optional<json::Value> {
    if (name.starts_with(kCredentials)) {
      const auto found = credentials.find(std::string(name.substr(kCredentials.size())));
      if (found == credentials.end()) return std::nullopt;
      return json::Value(found->second);
    }
    if (name.starts_with(kSettings)) {
      const auto found = account.settings.find(std::string(name.substr(kSettings.size())));
      if (found == account.settings.end()) return std::nullopt;
      return json::Value(found->second);
    }
    return std::nullopt;
  };
  std::string missing;
  const std::optional<std::string> path =
      authentication.request.path.RenderEncoded(lookup, &missing);
  if (!path) return Bad("the token request needs `" + missing + "`, which has no value");
  request.url += *path;
  if (!authentication.basic_user.empty()) {
    const auto user = authentication.basic_user.Render(lookup, &missing);
    const auto password = authentication.basic_password.Render(lookup, &missing);
    if (!user || !password) return Bad("credential `" + missing + "` has no value");
    request.headers.emplace_back("Authorization", "Basic " + Base64(*user + ":" + *password));
  }
  if (!authentication.request.body.is_null()) {
    const auto body = RenderBody(authentication.request.body, lookup, &missing);
    if (!body) return Bad("credential `" + missing + "` has no value");
    SetBody(json::Write(*body), request);
  }
  return request;
}

absl::Status Authorise(const Connector& connector, const Credentials& credentials,
                       const std::string& token, http::Request& request) {
  const Lookup lookup = [&](std::string_view name) -> std::optional<json::Value> {
    if (name == "token" && !token.empty()) return json::Value(token);
    if (name.starts_with(kCredentials)) {
      const auto found = credentials.find(std::string(name.substr(kCredentials.size())));
      if (found != credentials.end()) return json::Value(found->second);
    }
    return std::nullopt;
  };
  std::string missing;
  const auto value = connector.authentication.value.Render(lookup, &missing);
  if (!value) return absl::FailedPreconditionError("`" + missing + "` has no value");
  request.headers.emplace_back(connector.authentication.header, *value);
  return absl::OkStatus();
}

std::string HashOf(const http::Request& request) {
  const std::size_t host = request.url.find("://");
  const std::size_t path = request.url.find('/', host == std::string::npos ? 0 : host + 3);
  std::string text = request.method + "\n";
  if (path != std::string::npos) text += request.url.substr(path);
  text += "\n" + request.body;
  const ids::Sha256Digest digest = ids::Sha256(text);
  return std::string(digest.begin(), digest.begin() + 16);
}

std::vector<std::string> CanonicalTags(const Object& object, std::vector<std::string> tags) {
  for (std::string& tag : tags) {
    while (!tag.empty() && tag.front() == ' ') tag.erase(0, 1);
    while (!tag.empty() && tag.back() == ' ') tag.pop_back();
    if (!object.tags_lower_case) continue;
    for (char& c : tag) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
  }
  std::erase(tags, "");
  std::sort(tags.begin(), tags.end());
  tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
  return tags;
}

}  // namespace tributary::connector
