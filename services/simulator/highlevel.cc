#include "services/simulator/highlevel.h"

#include <algorithm>
#include <array>

#include "services/simulator/civil_time.h"
#include "services/simulator/json_text.h"
#include "services/simulator/random.h"

namespace tributary::simulator {
namespace {

constexpr std::array<std::string_view, 14> kTextFields = {
    "firstName", "lastName", "name",     "email",  "phone",       "address1",   "city",
    "state",     "website",  "timezone", "source", "dateOfBirth", "assignedTo", "companyName"};

std::string Trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return std::string(text);
}

bool IsEmail(std::string_view text) {
  const std::size_t at = text.find('@');
  return at != std::string_view::npos && at > 0 && at + 1 < text.size() &&
         text.find(' ') == std::string_view::npos &&
         text.find('@', at + 1) == std::string_view::npos;
}

}  // namespace

HighLevel::HighLevel(const WorldOptions& options)
    : options_(options),
      random_(options.seed, 11),
      token_("pit-" + NewId()),
      location_(NewId()),
      quota_({.requests_max = options.highlevel_requests_max, .length = options.highlevel_window}) {
  token_ += "-" + options.tenant;
}

std::string HighLevel::TextOf(const State& state, const std::string& field) {
  const auto found = state.fields.find(field);
  if (found == state.fields.end() || found->second.string() == nullptr) return "";
  return *found->second.string();
}

std::string HighLevel::IndexKey(std::string_view what, std::string_view value) {
  return std::string(what) + ":" + (what == "email" ? Lowered(value) : std::string(value));
}

std::string HighLevel::NewId() {
  static constexpr std::string_view kLetters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string id;
  for (int i = 0; i < 20; ++i) id.push_back(kLetters[static_cast<std::size_t>(random_.Below(62))]);
  return id;
}

Answer HighLevel::Json(int status, std::string body) const {
  Answer answer;
  answer.status = status;
  answer.headers = {{"Content-Type", "application/json; charset=utf-8"},
                    {"X-RateLimit-Limit-Daily", "200000"},
                    {"X-RateLimit-Daily-Remaining",
                     std::to_string(std::max<std::int64_t>(0, 200'000 - requests_))},
                    {"X-RateLimit-Interval-Milliseconds",
                     std::to_string(options_.highlevel_window.count() / 1'000)},
                    {"X-RateLimit-Max", std::to_string(quota_.options().requests_max)},
                    {"X-RateLimit-Remaining", std::to_string(quota_.remaining())}};
  answer.body = std::move(body);
  answer.delay = options_.answer_delay;
  return answer;
}

Answer HighLevel::Error(int status, std::string_view message, std::string_view error) const {
  std::string body;
  ObjectText object(body);
  object.Integer("statusCode", status);
  object.Text("message", message);
  if (!error.empty()) object.Text("error", error);
  object.Text("traceId", std::to_string(requests_));
  object.End();
  return Json(status, std::move(body));
}

// Here, and only here, the message is a list.
Answer HighLevel::Invalid(const std::vector<std::string>& messages) const {
  std::string list = "[";
  for (const std::string& message : messages) {
    if (list.size() > 1) list += ",";
    list += Quoted(message);
  }
  return Json(422,
              "{\"statusCode\":422,\"message\":" + list + "],\"error\":\"Unprocessable Entity\"}");
}

Answer HighLevel::Duplicate(const Contact& contact, std::string_view field) const {
  std::string body;
  ObjectText object(body);
  object.Integer("statusCode", 400);
  object.Text("message", "This location does not allow duplicated contacts.");
  object.Raw("meta", "{\"contactId\":" + Quoted(contact.id) + ",\"contactName\":" +
                         Quoted(TextOf(*contact.state, "firstName") + " " +
                                TextOf(*contact.state, "lastName")) +
                         ",\"matchingField\":" + Quoted(field) + "}");
  object.End();
  return Json(400, std::move(body));
}

bool HighLevel::Find(std::string_view id, std::uint32_t* index) const {
  const auto found = by_id_.find(std::string(id));
  if (found == by_id_.end() || contacts_[found->second].is_deleted) return false;
  *index = found->second;
  return true;
}

bool HighLevel::FindBy(std::string_view what, const std::string& value, const std::uint32_t* except,
                       std::uint32_t* index) const {
  if (value.empty()) return false;
  const auto found = by_value_.find(IndexKey(what, value));
  if (found == by_value_.end()) return false;
  for (const std::uint32_t candidate : found->second) {
    const Contact& contact = contacts_[candidate];
    if (contact.is_deleted || (except != nullptr && candidate == *except)) continue;
    if (IndexKey(what, TextOf(*contact.state, std::string(what))) != found->first) continue;
    *index = candidate;
    return true;
  }
  return false;
}

Answer HighLevel::Handle(WallTime now, const Asked& asked, bool* applied) {
  quota_.Advance(now);
  const std::string_view authorization = asked.Header("Authorization");
  if (authorization.empty()) return Error(401, "Invalid JWT", "Unauthorized");
  if (authorization != "Bearer " + token_) {
    return Error(401, "Invalid Private Integration token", "Unauthorized");
  }
  const std::string_view version = asked.Header("Version");
  static constexpr std::array<std::string_view, 5> kVersions = {"legacy", "2021-04-15",
                                                                "2021-07-28", "2023-02-21", "v3"};
  if (version.empty()) return Error(401, "version header was not found.", "Unauthorized");
  if (!Holds(kVersions, version)) return Error(401, "version header is invalid", "Unauthorized");

  if (!quota_.Take(now)) {
    Answer answer = Error(429, "Too Many Requests", "");
    answer.headers.emplace_back("Retry-After",
                                std::to_string(quota_.retry_after(now).count() / 1'000'000 + 1));
    return answer;
  }
  ++requests_;

  json::Value body;
  if (!asked.body.empty()) {
    auto parsed = json::Parse(asked.body);
    if (!parsed.ok()) return Error(400, "Unexpected token in JSON", "Bad Request");
    body = *std::move(parsed);
  }
  const std::vector<std::string>& path = asked.segments;
  const auto cannot = [&] {
    return Error(404, "Cannot " + asked.method + " " + asked.path, "Not Found");
  };
  if (path.empty()) return cannot();
  const bool is_write = asked.method == "POST" || asked.method == "PUT";
  if (is_write && body.object() == nullptr) return Error(400, "Bad Request", "Bad Request");

  if (path[0] == "locations" && path.size() >= 2) {
    if (path[1] != location_) {
      return Error(403, "The token does not have access to this location.", "Forbidden");
    }
    if (asked.method == "GET" && path.size() == 3 && path[2] == "customFields") {
      std::string list = "{\"customFields\":[";
      for (const std::string_view field : kCustomFields) {
        if (list.back() == '}') list += ",";
        ObjectText object(list);
        object.Text("id", field);
        object.Text("name", field);
        object.Text("fieldKey", "contact." + std::string(field));
        object.Text("dataType", "TEXT");
        object.Text("model", "contact");
        object.End();
      }
      return Json(200, list + "]}");
    }
    return cannot();
  }
  if (path[0] != "contacts") return cannot();
  if (path.size() == 1 && asked.method == "POST") return Create(now, body, applied);
  if (path.size() == 2 && path[1] == "upsert" && asked.method == "POST") {
    return Upsert(now, body, applied);
  }
  if (path.size() == 2 && path[1] == "search" && asked.method == "POST") return Search(now, body);
  if (path.size() == 3 && path[1] == "search" && path[2] == "duplicate" && asked.method == "GET") {
    return SearchDuplicate(asked);
  }
  if (path.size() < 2) return cannot();
  std::uint32_t index = 0;
  if (!Find(path[1], &index)) return Error(404, "Contact not found", "Not Found");
  if (path.size() == 2) {
    if (asked.method == "GET") {
      std::string out = "{\"contact\":";
      WriteContact(out, contacts_[index], *contacts_[index].state);
      return Json(200, out + ",\"traceId\":\"" + std::to_string(requests_) + "\"}");
    }
    if (asked.method == "PUT") return Update(now, index, body, applied);
    if (asked.method == "DELETE") {
      *applied = true;
      contacts_[index].is_deleted = true;
      return Json(200, "{\"succeded\":true}");
    }
    return cannot();
  }
  if (path[2] == "tags" && path.size() == 3 &&
      (asked.method == "POST" || asked.method == "DELETE")) {
    return Tags(now, index, body, asked.method == "POST", applied);
  }
  if (path[2] == "notes" && path.size() <= 4) return Notes(now, index, asked, body, applied);
  return cannot();
}

std::vector<std::string> HighLevel::Problems(const json::Value& body, bool is_update,
                                             bool is_upsert) const {
  std::vector<std::string> problems;
  for (const auto& [name, value] : *body.object()) {
    const bool is_only_on_create =
        name == "locationId" || name == "gender" || name == "companyName";
    const bool is_loose = name == "companyName" && !options_.switches.highlevel_strict_update;
    // NOLINTNEXTLINE(bugprone-branch-clone): the last one is of what nobody knows.
    if (is_update && is_only_on_create && !is_loose) {
      problems.push_back("property " + name + " should not exist");
    } else if (Holds(kTextFields, name) || name == "gender" || name == "postalCode" ||
               name == "country" || name == "locationId") {
      const bool is_nullable = Holds(kTextFields, name);
      if (value.string() == nullptr && !(is_nullable && value.is_null())) {
        problems.push_back(name + " must be a string");
      } else if (name == "email" && value.string() != nullptr && !IsEmail(*value.string())) {
        problems.push_back("email must be an email");
      } else if (name == "country" && value.string()->size() != 2) {
        problems.push_back("country must be a valid enum value");
      }
    } else if (name == "tags") {
      bool is_list = value.array() != nullptr;
      if (is_list) {
        for (const json::Value& tag : *value.array()) is_list = is_list && tag.string() != nullptr;
      }
      if (!is_list) problems.push_back("each value in tags must be a string");
    } else if (name == "customFields") {
      if (value.array() == nullptr) {
        problems.push_back("customFields must be an array");
        continue;
      }
      for (const json::Value& item : *value.array()) {
        const json::Value* key = item.Find("key");
        if (key == nullptr) key = item.Find("id");
        if (key == nullptr || key->string() == nullptr || !Holds(kCustomFields, *key->string())) {
          problems.push_back("customFields.key must name a custom field of the location");
          continue;
        }
        for (const auto& [member, unused] : *item.object()) {
          if (member != "key" && member != "id" && member != "field_value") {
            problems.push_back("customFields.property " + member + " should not exist");
          }
        }
      }
    } else if (name == "dnd") {
      if (value.boolean() == nullptr) problems.push_back("dnd must be a boolean value");
    } else if (name == "dndSettings" || name == "inboundDndSettings") {
      if (value.object() == nullptr) problems.push_back(name + " must be an object");
    } else if (name == "createNewIfDuplicateAllowed" && is_upsert) {
      if (value.boolean() == nullptr) problems.push_back(name + " must be a boolean value");
    } else {
      problems.push_back("property " + name + " should not exist");
    }
  }
  return problems;
}

void HighLevel::Apply(const json::Value& body, bool takes_phone, State& state) const {
  for (const auto& [name, value] : *body.object()) {
    if (name == "locationId" || name == "createNewIfDuplicateAllowed") continue;
    if (name == "tags") {
      state.tags.clear();
      for (const json::Value& tag : *value.array()) {
        const std::string lowered = Lowered(Trimmed(*tag.string()));
        if (!Holds(state.tags, lowered)) state.tags.push_back(lowered);
      }
    } else if (name == "customFields") {
      for (const json::Value& item : *value.array()) {
        const json::Value* key = item.Find("key");
        if (key == nullptr) key = item.Find("id");
        const json::Value* content = item.Find("field_value");
        state.custom[*key->string()] = content == nullptr ? json::Value() : *content;
      }
    } else if (name == "phone") {
      if (!takes_phone) continue;
      if (value.string() == nullptr) {
        state.fields.erase(name);
      } else {
        state.fields[name] = PlainPhone(*value.string());
      }
    } else if (value.is_null()) {
      state.fields.erase(name);
    } else {
      state.fields[name] = value;
    }
  }
}

void HighLevel::Refresh(WallTime now, Contact& contact) const {
  while (!contact.to_index.empty() && contact.to_index.front().first <= now) {
    contact.indexed = contact.to_index.front().second;
    contact.to_index.pop_front();
  }
}

void HighLevel::Store(WallTime now, std::uint32_t index, State state) {
  state.updated = now;
  const auto remember = [&](const std::string& key) {
    std::vector<std::uint32_t>& holders = by_value_[key];
    if (std::find(holders.begin(), holders.end(), index) == holders.end()) {
      holders.push_back(index);
    }
  };
  for (const char* field : {"email", "phone"}) {
    const std::string text = TextOf(state, field);
    if (!text.empty()) remember(IndexKey(field, text));
  }
  for (const auto& [key, value] : state.custom) {
    if (key == "chargify_customer_id") remember("custom:" + key + ":" + CanonicalText(value));
  }
  Contact& contact = contacts_[index];
  Refresh(now, contact);
  contact.state = std::make_shared<const State>(std::move(state));
  contact.to_index.emplace_back(now + options_.index_lag, contact.state);
  const Flat flat = Flattened(*contact.state);
  const auto named = flat.find("customFields.chargify_customer_id");
  marks_.push_back({.at = now,
                    .record = index,
                    .customer = HashOfPart(flat, Part::kCustomer),
                    .company = HashOfPart(flat, Part::kCompany),
                    .subscriptions = HashOfPart(flat, Part::kSubscriptions),
                    .of = HashText(named == flat.end() ? "" : named->second)});
}

std::uint32_t HighLevel::Add(WallTime now, State state) {
  const auto index = static_cast<std::uint32_t>(contacts_.size());
  contacts_.emplace_back();
  contacts_.back().id = NewId();
  contacts_.back().added = now;
  by_id_.emplace(contacts_.back().id, index);
  Store(now, index, std::move(state));
  return index;
}

Answer HighLevel::Upsert(WallTime now, const json::Value& body, bool* applied) {
  const std::vector<std::string> problems = Problems(body, false, true);
  if (!problems.empty()) return Invalid(problems);
  const json::Value* location = body.Find("locationId");
  if (location == nullptr) return Invalid({"locationId must be a string"});
  if (*location->string() != location_) {
    return Error(403, "The token does not have access to this location.", "Forbidden");
  }
  State wanted;
  Apply(body, true, wanted);
  const std::string email = TextOf(wanted, "email");
  const std::string phone = TextOf(wanted, "phone");
  const json::Value* always_new = body.Find("createNewIfDuplicateAllowed");
  const bool creates = always_new != nullptr && *always_new->boolean() &&
                       options_.switches.highlevel_allows_duplicates;
  std::uint32_t index = 0;
  std::uint32_t other = 0;
  const bool by_email = !creates && FindBy("email", email, nullptr, &index);
  const bool by_phone = !creates && !by_email && FindBy("phone", phone, nullptr, &index);
  const bool is_new = !by_email && !by_phone;
  *applied = true;
  if (is_new) {
    index = Add(now, std::move(wanted));
  } else {
    // Matched by e-mail, a number that is another contact's is left out, and nothing says so.
    const bool takes_phone = !by_email || !FindBy("phone", phone, &index, &other);
    State state = *contacts_[index].state;
    Apply(body, takes_phone, state);
    Store(now, index, std::move(state));
  }
  std::string out = std::string("{\"new\":") + (is_new ? "true" : "false") + ",\"contact\":";
  WriteContact(out, contacts_[index], *contacts_[index].state);
  return Json(200, out + ",\"traceId\":\"" + std::to_string(requests_) + "\"}");
}

Answer HighLevel::Create(WallTime now, const json::Value& body, bool* applied) {
  const std::vector<std::string> problems = Problems(body, false, false);
  if (!problems.empty()) return Invalid(problems);
  const json::Value* location = body.Find("locationId");
  if (location == nullptr) return Invalid({"locationId must be a string"});
  if (*location->string() != location_) {
    return Error(403, "The token does not have access to this location.", "Forbidden");
  }
  State state;
  Apply(body, true, state);
  std::uint32_t other = 0;
  if (!options_.switches.highlevel_allows_duplicates) {
    for (const char* field : {"email", "phone"}) {
      if (FindBy(field, TextOf(state, field), nullptr, &other)) {
        return Duplicate(contacts_[other], field);
      }
    }
  }
  *applied = true;
  const std::uint32_t index = Add(now, std::move(state));
  std::string out = "{\"contact\":";
  WriteContact(out, contacts_[index], *contacts_[index].state);
  return Json(201, out + "}");
}

Answer HighLevel::Update(WallTime now, std::uint32_t index, const json::Value& body,
                         bool* applied) {
  const std::vector<std::string> problems = Problems(body, true, false);
  if (!problems.empty()) return Invalid(problems);
  State state = *contacts_[index].state;
  Apply(body, true, state);
  std::uint32_t other = 0;
  if (!options_.switches.highlevel_allows_duplicates) {
    for (const char* field : {"email", "phone"}) {
      if (body.Find(field) != nullptr && FindBy(field, TextOf(state, field), &index, &other)) {
        return Duplicate(contacts_[other], field);
      }
    }
  }
  *applied = true;
  Store(now, index, std::move(state));
  std::string out = "{\"succeded\":true,\"contact\":";
  WriteContact(out, contacts_[index], *contacts_[index].state);
  return Json(200, out + "}");
}

Answer HighLevel::Tags(WallTime now, std::uint32_t index, const json::Value& body, bool adds,
                       bool* applied) {
  if (body.object() == nullptr) return Invalid({"tags must be an array"});
  for (const auto& [name, value] : *body.object()) {
    if (name != "tags") return Invalid({"property " + name + " should not exist"});
  }
  const json::Value* tags = body.Find("tags");
  if (tags == nullptr || tags->array() == nullptr) return Invalid({"tags must be an array"});
  State state = *contacts_[index].state;
  for (const json::Value& tag : *tags->array()) {
    if (tag.string() == nullptr) return Invalid({"each value in tags must be a string"});
    const std::string lowered = Lowered(Trimmed(*tag.string()));
    if (adds && !Holds(state.tags, lowered)) state.tags.push_back(lowered);
    if (!adds) std::erase(state.tags, lowered);
  }
  *applied = true;
  Store(now, index, std::move(state));
  std::string out = "{\"tags\":[";
  for (const std::string& tag : contacts_[index].state->tags) {
    if (out.back() != '[') out += ",";
    out += Quoted(tag);
  }
  return Json(adds ? 201 : 200, out + "],\"traceId\":\"" + std::to_string(requests_) + "\"}");
}

Answer HighLevel::Notes(WallTime now, std::uint32_t index, const Asked& asked,
                        const json::Value& body, bool* applied) {
  Contact& contact = contacts_[index];
  const auto write = [&](std::string& out, const Note& note) {
    ObjectText object(out);
    object.Text("id", note.id);
    object.Text("body", note.body);
    object.Null("userId");
    object.Text("dateAdded", IsoUtc(note.added));
    object.Text("contactId", contact.id);
    object.End();
  };
  if (asked.segments.size() == 3 && asked.method == "GET") {
    std::string out = "{\"notes\":[";
    for (const Note& note : contact.notes) {
      const bool is_late = options_.switches.highlevel_late_notes;
      if (is_late && note.added + options_.index_lag > now) continue;
      if (out.back() != '[') out += ",";
      write(out, note);
    }
    return Json(200, out + "]}");
  }
  if (asked.segments.size() == 3 && asked.method == "POST") {
    for (const auto& [name, value] : *body.object()) {
      static constexpr std::array<std::string_view, 5> kMembers = {"body", "userId", "title",
                                                                   "color", "pinned"};
      if (!Holds(kMembers, name)) return Invalid({"property " + name + " should not exist"});
    }
    const json::Value* text = body.Find("body");
    if (text == nullptr || text->string() == nullptr) return Invalid({"body must be a string"});
    *applied = true;
    contact.notes.push_back({NewId(), *text->string(), now});
    std::string out = "{\"note\":";
    write(out, contact.notes.back());
    return Json(201, out + "}");
  }
  if (asked.segments.size() == 4) {
    for (std::size_t i = 0; i < contact.notes.size(); ++i) {
      if (contact.notes[i].id != asked.segments[3]) continue;
      if (asked.method == "GET") {
        std::string out = "{\"note\":";
        write(out, contact.notes[i]);
        return Json(200, out + "}");
      }
      if (asked.method == "DELETE") {
        *applied = true;
        contact.notes.erase(contact.notes.begin() + static_cast<std::ptrdiff_t>(i));
        return Json(200, "{\"succeded\":true}");
      }
    }
    return Error(404, "Note not found", "Not Found");
  }
  return Error(404, "Cannot " + asked.method + " " + asked.path, "Not Found");
}

}  // namespace tributary::simulator
