#include <algorithm>

#include "libs/connector/parse.h"
#include "libs/nearest/nearest.h"

namespace tributary::connector {
namespace {

const Keys kCallKeys = {"call",        "method",          "path",        "query", "body",
                        "fields",      "needs",           "id",          "holds", "tags",
                        "answers",     "creates_or_acts", "items",       "item",  "item_id",
                        "item_equals", "item_contains",   "confirmed_by"};

}  // namespace

std::vector<AnswerRule> ReadAnswers(FileReader& reader, const YAML::Node& map) {
  using Means = AnswerRule::Means;
  static const std::vector<std::pair<std::string, Means>> kMeanings = {
      {"done", Means::kDone},
      {"refused", Means::kRefused},
      {"missing", Means::kMissing},
      {"duplicate", Means::kDuplicate},
      {"unauthorised", Means::kUnauthorised},
      {"misconfigured", Means::kMisconfigured},
      {"throttled", Means::kThrottled},
      {"unknown", Means::kUnknown}};
  std::vector<AnswerRule> out;
  const YAML::Node list = map["answers"];
  if (!list) return out;
  if (!list.IsSequence()) {
    reader.Problem(list, "`answers` must be a list");
    return out;
  }
  for (const YAML::Node& item : list) {
    if (!reader.Map(item, "an answer", {"status", "text", "means", "id"})) continue;
    AnswerRule rule;
    rule.status = static_cast<int>(reader.Integer(item, "status", 0, 100, 599));
    rule.text = reader.Text(item, "text", false);
    rule.id = reader.Text(item, "id", false);
    const std::string means = reader.Text(item, "means", true);
    bool known = false;
    Keys names;
    for (const auto& [name, value] : kMeanings) {
      names.push_back(name);
      if (name != means) continue;
      rule.means = value;
      known = true;
    }
    if (!known && !means.empty()) {
      reader.Problem(item["means"],
                     "`" + means + "` is no meaning of an answer" + DidYouMean(means, names));
    }
    if (rule.means == Means::kDuplicate && rule.id.empty()) {
      reader.Problem(item, "a duplicate must say where the `id` of the other one is");
    }
    if (rule.status == 0 && rule.text.empty()) {
      reader.Problem(item, "an answer needs a `status` or a `text`");
    }
    out.push_back(std::move(rule));
  }
  return out;
}

Call ReadCall(FileReader& reader, const YAML::Node& map, std::string_view what, std::string name,
              const Keys& extra) {
  Call call;
  Keys known = kCallKeys;
  known.insert(known.end(), extra.begin(), extra.end());
  if (!reader.Map(map, what, known)) return call;
  call.name = reader.Text(map, "call", false);
  if (call.name.empty()) call.name = std::move(name);
  call.method = reader.Text(map, "method", true);
  static const Keys kMethods = {"GET", "POST", "PUT", "PATCH", "DELETE"};
  if (!call.method.empty() &&
      std::find(kMethods.begin(), kMethods.end(), call.method) == kMethods.end()) {
    reader.Problem(map["method"], "method must be GET, POST, PUT, PATCH or DELETE");
  }
  call.path = reader.Pattern(map, "path", true);
  const std::string path = reader.Text(map, "path", false);
  if (!path.empty() && !path.starts_with('/')) {
    reader.Problem(map["path"], "a path begins with `/`; the host is the connection's");
  }
  if (const YAML::Node query = map["query"]) {
    if (reader.Map(query, "query", {})) {
      for (const auto& entry : query) {
        if (!entry.second.IsScalar()) {
          reader.Problem(entry.second, "a query parameter must be a text");
          continue;
        }
        call.query.emplace_back(entry.first.Scalar(),
                                reader.PatternOf(entry.second, entry.second.Scalar()));
      }
    }
  }
  if (const YAML::Node body = map["body"]) call.body = reader.Body(body);
  if (const YAML::Node fields = map["fields"]) {
    call.sends_fields = true;
    if (fields.IsScalar()) {
      if (fields.Scalar() != "all") reader.Problem(fields, "`fields` is `all` or a map");
    } else if (reader.Map(fields, "fields", {"only", "except"})) {
      for (std::string& path_only : reader.List(fields, "only")) call.only.insert(path_only);
      for (std::string& path_not : reader.List(fields, "except")) call.except.insert(path_not);
    }
  }
  call.needs = reader.List(map, "needs");
  call.confirmed_by = reader.Text(map, "confirmed_by", false);
  call.id = reader.Text(map, "id", false);
  call.holds = reader.Text(map, "holds", false);
  if (map["tags"] && map["tags"].IsScalar()) call.tags = map["tags"].Scalar();
  call.answers = ReadAnswers(reader, map);
  call.creates_or_acts = reader.Bool(map, "creates_or_acts");
  call.items = reader.Text(map, "items", false);
  call.item = reader.Text(map, "item", false);
  call.item_id = reader.Text(map, "item_id", false);
  call.item_equals = reader.Pattern(map, "item_equals", false);
  call.item_contains = reader.Pattern(map, "item_contains", false);
  return call;
}

Call ReadLookup(FileReader& reader, const YAML::Node& map, std::string name) {
  Call call = ReadCall(reader, map, "a look-up", std::move(name));
  if (map.IsMap() && call.items.empty() == call.item.empty()) {
    reader.Problem(map, "a look-up needs either `items` or `item`");
  }
  if (map.IsMap() && call.item_id.empty()) reader.Problem(map, "a look-up needs an `item_id`");
  return call;
}

std::vector<Call> ReadCalls(FileReader& reader, const YAML::Node& object, const char* key,
                            bool is_lookup) {
  std::vector<Call> out;
  const YAML::Node list = object[key];
  if (!list) return out;
  if (!list.IsSequence()) {
    reader.Problem(list, "`" + std::string(key) + "` must be a list of calls");
    return out;
  }
  for (const YAML::Node& item : list) {
    out.push_back(is_lookup ? ReadLookup(reader, item, key)
                            : ReadCall(reader, item, "a call", key));
    if (!is_lookup && out.back().id.empty() && item.IsMap()) {
      reader.Problem(item, "a write needs an `id`: an answer without one is not taken as success");
    }
  }
  return out;
}

}  // namespace tributary::connector
