#include <algorithm>
#include <array>

#include "services/simulator/civil_time.h"
#include "services/simulator/highlevel.h"
#include "services/simulator/json_text.h"

// What the search index shows, and how contacts read.

namespace tributary::simulator {

Answer HighLevel::Search(WallTime now, const json::Value& body) {
  static constexpr std::array<std::string_view, 7> kMembers = {
      "locationId", "pageLimit", "page", "searchAfter", "filters", "sort", "query"};
  for (const auto& [name, value] : *body.object()) {
    if (!Holds(kMembers, name)) return Invalid({"property " + name + " should not exist"});
  }
  const json::Value* location = body.Find("locationId");
  if (location == nullptr || location->string() == nullptr) {
    return Invalid({"locationId must be a string"});
  }
  if (*location->string() != location_) {
    return Error(403, "The token does not have access to this location.", "Forbidden");
  }
  const json::Value* limit_value = body.Find("pageLimit");
  const auto limit = limit_value == nullptr ? std::nullopt : limit_value->ToInt64();
  if (!limit || *limit < 1 || *limit > 500) {
    return Invalid({"pageLimit must be a number between 1 and 500"});
  }
  const json::Value* page_value = body.Find("page");
  const std::int64_t page = page_value == nullptr ? 1 : page_value->ToInt64().value_or(0);
  if (page < 1 || page * *limit > 10'000) return Invalid({"page reaches beyond 10000 records"});

  struct Filter {
    std::string field;
    std::string value;
  };
  std::vector<Filter> filters;
  const json::Value* given = body.Find("filters");
  if (given != nullptr) {
    if (given->array() == nullptr) return Invalid({"filters must be an array"});
    for (const json::Value& item : *given->array()) {
      const json::Value* field = item.Find("field");
      const json::Value* condition = item.Find("operator");
      const json::Value* value = item.Find("value");
      if (field == nullptr || field->string() == nullptr || condition == nullptr ||
          condition->string() == nullptr || value == nullptr) {
        return Invalid({"each filter needs field, operator and value"});
      }
      const std::string& name = *field->string();
      if (*condition->string() != "eq") return Invalid({"operator is not supported for " + name});
      const bool is_custom = name.substr(0, 13) == "customFields." &&
                             Holds(kCustomFields, std::string_view(name).substr(13));
      if (name != "email" && name != "phone" && name != "id" && !is_custom) {
        return Invalid({"Invalid filter field " + name});
      }
      filters.push_back({name, CanonicalText(*value)});
    }
  }
  // The candidates come from an exact index; what counts is what the lagging one knows of them.
  std::vector<std::uint32_t> candidates;
  bool is_narrowed = false;
  for (const Filter& filter : filters) {
    std::string key;
    if (filter.field == "email" || filter.field == "phone")
      key = IndexKey(filter.field, filter.value);
    if (filter.field == "customFields.chargify_customer_id") {
      key = "custom:chargify_customer_id:" + filter.value;
    }
    if (key.empty()) continue;
    const auto found = by_value_.find(key);
    candidates = found == by_value_.end() ? std::vector<std::uint32_t>() : found->second;
    is_narrowed = true;
    break;
  }
  if (!is_narrowed) {
    for (std::uint32_t i = 0; i < contacts_.size(); ++i) candidates.push_back(i);
  }
  std::vector<std::uint32_t> hits;
  for (const std::uint32_t index : candidates) {
    Contact& contact = contacts_[index];
    Refresh(now, contact);
    if (contact.is_deleted || contact.indexed == nullptr) continue;
    bool fits = true;
    for (const Filter& filter : filters) {
      if (filter.field == "id") {
        fits = fits && contact.id == filter.value;
      } else if (filter.field == "email" || filter.field == "phone") {
        fits = fits && IndexKey(filter.field, TextOf(*contact.indexed, filter.field)) ==
                           IndexKey(filter.field, filter.value);
      } else {
        const auto found = contact.indexed->custom.find(filter.field.substr(13));
        fits = fits && found != contact.indexed->custom.end() &&
               CanonicalText(found->second) == filter.value;
      }
    }
    if (fits) hits.push_back(index);
  }
  // A cursor is the last contact that was read: {time added, id}.
  std::size_t first = static_cast<std::size_t>((page - 1) * *limit);
  if (const json::Value* after = body.Find("searchAfter");
      after != nullptr && after->array() != nullptr && after->array()->size() == 2) {
    const auto id = (*after->array())[1].ToIdText();
    for (std::size_t i = 0; i < hits.size(); ++i) {
      if (id && contacts_[hits[i]].id == *id) first = i + 1;
    }
  }
  std::string out = "{\"contacts\":[";
  for (std::size_t i = first; i < hits.size() && i < first + static_cast<std::size_t>(*limit);
       ++i) {
    if (out.back() != '[') out += ",";
    WriteContact(out, contacts_[hits[i]], *contacts_[hits[i]].indexed);
    out.pop_back();
    out += ",\"searchAfter\":[" +
           std::to_string(contacts_[hits[i]].added.time_since_epoch().count() / 1'000) + "," +
           Quoted(contacts_[hits[i]].id) + "]}";
  }
  return Json(200, out + "],\"total\":" + std::to_string(hits.size()) + "}");
}

Answer HighLevel::SearchDuplicate(const Asked& asked) const {
  const std::string* location = asked.Parameter("locationId");
  if (location == nullptr) return Invalid({"locationId must be a string"});
  if (*location != location_) {
    return Error(403, "The token does not have access to this location.", "Forbidden");
  }
  for (const auto& [name, value] : asked.query) {
    if (name != "locationId" && name != "email" && name != "number") {
      return Invalid({"property " + name + " should not exist"});
    }
  }
  std::uint32_t index = 0;
  const std::string* email = asked.Parameter("email");
  const std::string* number = asked.Parameter("number");
  const bool is_found =
      (email != nullptr && FindBy("email", *email, nullptr, &index)) ||
      (number != nullptr && FindBy("phone", PlainPhone(*number), nullptr, &index));
  if (!is_found) return Json(200, "{\"contact\":null}");
  std::string out = "{\"contact\":";
  WriteContact(out, contacts_[index], *contacts_[index].state);
  return Json(200, out + "}");
}

void HighLevel::WriteContact(std::string& out, const Contact& contact, const State& state) const {
  ObjectText object(out);
  object.Text("id", contact.id);
  object.Text("locationId", location_);
  for (const auto& [name, value] : state.fields) object.Raw(name, json::Write(value));
  object.Text("emailLowerCase", Lowered(TextOf(state, "email")));
  object.Text("type", "lead");
  object.Text("dateAdded", IsoUtc(contact.added));
  object.Text("dateUpdated", IsoUtc(state.updated));
  if (object.Key("tags")) {
    out += "[";
    for (const std::string& tag : state.tags) {
      if (out.back() != '[') out += ",";
      json::AppendQuoted(out, tag);
    }
    out += "]";
  }
  if (object.Key("customFields")) {
    out += "[";
    for (const auto& [key, value] : state.custom) {
      if (out.back() != '[') out += ",";
      out += "{\"id\":" + Quoted(key) + ",\"value\":" + json::Write(value) + "}";
    }
    out += "]";
  }
  object.End();
}

void HighLevel::WriteRecords(std::string& out) const {
  ObjectText object(out);
  object.Key("contacts");
  out += "[";
  for (const Contact& contact : contacts_) {
    if (contact.is_deleted) continue;
    if (out.back() != '[') out += ",";
    WriteContact(out, contact, *contact.state);
    out.pop_back();
    out += ",\"notes\":[";
    for (const Note& note : contact.notes) {
      if (out.back() != '[') out += ",";
      out += "{\"id\":" + Quoted(note.id) + ",\"body\":" + Quoted(note.body) + "}";
    }
    out += "]}";
  }
  out += "]";
  object.End();
}

Flat HighLevel::Flattened(const State& state) {
  Flat flat;
  for (const auto& [name, value] : state.fields) Flatten(name, value, flat);
  for (const auto& [key, value] : state.custom) Flatten("customFields." + key, value, flat);
  return flat;
}

}  // namespace tributary::simulator
