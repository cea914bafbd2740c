#include <algorithm>
#include <charconv>

#include "libs/budget/budget.h"
#include "libs/config/nearest.h"
#include "libs/connector/connector.h"
#include "libs/yaml/load.h"

// A connector file to structs, once; every problem is collected with its place.

namespace tributary::connector {
namespace {

using Keys = std::vector<std::string>;

/// As much as one may be on its topic.
constexpr std::size_t kFileBytesMax = 256 * 1024;

/// As JSON writes it: `007` is a text.
bool IsDecimal(std::string_view text) {
  std::size_t i = text.starts_with('-') ? 1 : 0;
  if (text.size() > i + 1 && text[i] == '0' && text[i + 1] != '.') return false;
  std::size_t digits = 0;
  std::size_t points = 0;
  for (; i < text.size(); ++i) {
    if (text[i] >= '0' && text[i] <= '9') {
      ++digits;
    } else if (text[i] == '.' && points == 0 && digits > 0) {
      ++points;
    } else {
      return false;
    }
  }
  return digits > 0 && text.back() != '.';
}

class Reader {
 public:
  explicit Reader(std::string_view file) : file_(file) {}

  void Problem(const YAML::Node& at, const std::string& text) {
    const YAML::Mark mark = at.Mark();
    problems_ += file_ + ":" + std::to_string(mark.line + 1) + ":" +
                 std::to_string(mark.column + 1) + ": error: " + text + "\n";
  }

  /// False, with a problem: not a map. Keys that are not in `known` are problems.
  bool Map(const YAML::Node& node, std::string_view what, const Keys& known) {
    if (!node.IsMap()) {
      Problem(node, std::string(what) + " must be a map");
      return false;
    }
    Keys seen;
    for (const auto& entry : node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
      if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
        Problem(entry.first, "`" + key + "` is given twice");
      }
      seen.push_back(key);
      if (known.empty() || std::find(known.begin(), known.end(), key) != known.end()) continue;
      const std::string nearest = config::Nearest(key, known);
      Problem(entry.first, "`" + key + "` is not known in " + std::string(what) +
                               (nearest.empty() ? "" : "; did you mean `" + nearest + "`?"));
    }
    return true;
  }

  std::string Text(const YAML::Node& map, const char* key, bool required) {
    const YAML::Node node = map[key];
    if (!node) {
      if (required) Problem(map, "`" + std::string(key) + "` is missing");
      return "";
    }
    if (!node.IsScalar()) {
      Problem(node, "`" + std::string(key) + "` must be a text");
      return "";
    }
    return node.Scalar();
  }

  bool Bool(const YAML::Node& map, const char* key) {
    const std::string text = Text(map, key, false);
    if (text == "true") return true;
    if (!text.empty() && text != "false") {
      Problem(map[key], "`" + std::string(key) + "` must be true or false");
    }
    return false;
  }

  std::int64_t Integer(const YAML::Node& map, const char* key, std::int64_t fallback,
                       std::int64_t min, std::int64_t max) {
    const std::string text = Text(map, key, false);
    if (text.empty()) return fallback;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) {
      Problem(map[key], "`" + std::string(key) + "` must be a whole number from " +
                            std::to_string(min) + " to " + std::to_string(max));
      return fallback;
    }
    return value;
  }

  Duration Time(const YAML::Node& map, const char* key, Duration fallback, Duration min,
                Duration max) {
    const std::string text = Text(map, key, false);
    if (text.empty()) return fallback;
    const std::optional<Duration> value = ParseDuration(text);
    if (!value || *value < min || *value > max) {
      Problem(map[key], "`" + std::string(key) + "` must be a duration such as 120s, from " +
                            std::to_string(min.count() / 1000) + "ms to " +
                            std::to_string(max.count() / 1'000'000) + "s");
      return fallback;
    }
    return *value;
  }

  Keys List(const YAML::Node& map, const char* key) {
    Keys out;
    const YAML::Node node = map[key];
    if (!node) return out;
    if (!node.IsSequence()) {
      Problem(node, "`" + std::string(key) + "` must be a list of texts");
      return out;
    }
    for (const YAML::Node& item : node) {
      if (item.IsScalar()) {
        out.push_back(item.Scalar());
      } else {
        Problem(item, "`" + std::string(key) + "` must be a list of texts");
      }
    }
    return out;
  }

  Template Pattern(const YAML::Node& map, const char* key, bool required) {
    const std::string text = Text(map, key, required);
    if (text.empty()) return {};
    return PatternOf(map[key], text);
  }

  Template PatternOf(const YAML::Node& node, const std::string& text) {
    std::optional<Template> parsed = Template::Parse(text);
    if (!parsed) {
      Problem(node, "a brace is not closed; write {{ and }} for braces themselves");
      return {};
    }
    for (const std::string& name : parsed->placeholders()) CheckPlaceholder(node, name);
    return *std::move(parsed);
  }

  json::Value Body(const YAML::Node& node) {
    if (node.IsScalar()) {
      const std::string& text = node.Scalar();
      if (node.Tag() != "!") {
        if (text == "true" || text == "false") return json::Value(text == "true");
        if (text == "null" || text == "~") return {};
        if (IsDecimal(text)) return json::Value(json::Number{text});
      }
      PatternOf(node, text);
      return json::Value(text);
    }
    if (node.IsSequence()) {
      json::Array out;
      for (const YAML::Node& item : node) out.push_back(Body(item));
      return json::Value(std::move(out));
    }
    if (node.IsMap()) {
      json::Object out;
      for (const auto& entry : node) out.emplace_back(entry.first.Scalar(), Body(entry.second));
      return json::Value(std::move(out));
    }
    return {};
  }

  void CheckPlaceholder(const YAML::Node& node, const std::string& name) {
    static const Keys kRoots = {"record.id", "marker", "tags", "token"};
    static const Keys kPrefixes = {"fields.", "arguments.", "settings.", "credentials."};
    if (std::find(kRoots.begin(), kRoots.end(), name) != kRoots.end()) return;
    for (const std::string& prefix : kPrefixes) {
      if (!name.starts_with(prefix) || name.size() == prefix.size()) continue;
      if (prefix == "settings.") CheckNamed(node, name.substr(prefix.size()), settings_, "setting");
      if (prefix == "credentials.") {
        CheckNamed(node, name.substr(prefix.size()), credentials_, "credential");
      }
      return;
    }
    Keys known = kRoots;
    for (const std::string& setting : settings_) known.push_back("settings." + setting);
    for (const std::string& field : credentials_) known.push_back("credentials." + field);
    const std::string nearest = config::Nearest(name, known);
    Problem(node, "placeholder `" + name + "` is not known" +
                      (nearest.empty() ? "" : "; did you mean `" + nearest + "`?"));
  }

  void Know(Keys settings, Keys credentials) {
    settings_ = std::move(settings);
    credentials_ = std::move(credentials);
  }

  const std::string& problems() const { return problems_; }

 private:
  void CheckNamed(const YAML::Node& node, const std::string& name, const Keys& known,
                  const std::string& what) {
    if (std::find(known.begin(), known.end(), name) != known.end()) return;
    const std::string nearest = config::Nearest(name, known);
    Problem(node, what + " `" + name + "` is not declared" +
                      (nearest.empty() ? "" : "; did you mean `" + nearest + "`?"));
  }

  std::string file_;
  std::string problems_;
  Keys settings_;
  Keys credentials_;
};

std::vector<AnswerRule> ReadAnswers(Reader& reader, const YAML::Node& map) {
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
      const std::string nearest = config::Nearest(means, names);
      reader.Problem(item["means"],
                     "`" + means + "` is no meaning of an answer" +
                         (nearest.empty() ? "" : "; did you mean `" + nearest + "`?"));
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

const Keys kCallKeys = {"call",        "method",          "path",  "query", "body",
                        "fields",      "needs",           "id",    "holds", "tags",
                        "answers",     "creates_or_acts", "items", "item",  "item_id",
                        "item_equals", "item_contains"};

/// `extra`: keys of the map that belong to what surrounds the call.
Call ReadCall(Reader& reader, const YAML::Node& map, std::string_view what, std::string name,
              const Keys& extra = {}) {
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

Call ReadLookup(Reader& reader, const YAML::Node& map, std::string name) {
  Call call = ReadCall(reader, map, "a look-up", std::move(name));
  if (map.IsMap() && call.items.empty() == call.item.empty()) {
    reader.Problem(map, "a look-up needs either `items` or `item`");
  }
  if (map.IsMap() && call.item_id.empty()) reader.Problem(map, "a look-up needs an `item_id`");
  return call;
}

std::vector<Call> ReadCalls(Reader& reader, const YAML::Node& object, const char* key,
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

void ReadFields(Reader& reader, const YAML::Node& map, Object& object) {
  const YAML::Node fields = map["fields"];
  if (!fields) {
    reader.Problem(map, "`fields` is missing");
    return;
  }
  if (!reader.Map(fields, "fields",
                  {"names", "sections", "pairs", "open", "clear", "not_clearable"}))
    return;
  for (std::string& name : reader.List(fields, "names")) object.names.insert(name);
  for (std::string& name : reader.List(fields, "sections")) object.sections.insert(name);
  object.open = reader.Bool(fields, "open");
  for (std::string& name : reader.List(fields, "not_clearable")) object.not_clearable.insert(name);
  if (const YAML::Node clear = fields["clear"]; clear && reader.Map(clear, "clear", {})) {
    for (const auto& entry : clear) {
      object.clears.emplace(entry.first.Scalar(), reader.Body(entry.second));
    }
  }
  if (const YAML::Node pairs = fields["pairs"]) {
    if (reader.Map(pairs, "pairs", {"prefix", "key", "value", "clear"})) {
      object.pairs_prefix = reader.Text(pairs, "prefix", true);
      object.pairs_key = reader.Text(pairs, "key", true);
      object.pairs_value = reader.Text(pairs, "value", true);
      if (const YAML::Node clear = pairs["clear"]) object.pairs_clear = reader.Body(clear);
    }
  }
}

void ReadBatch(Reader& reader, const YAML::Node& map, Object& object) {
  const YAML::Node node = map["batch"];
  if (!node) return;
  Batch batch;
  batch.call =
      ReadCall(reader, node, "batch", "batch",
               {"enabled_by", "size", "results", "result_key", "result_status", "result_error"});
  if (!node.IsMap()) return;
  batch.enabled_by = reader.Text(node, "enabled_by", false);
  batch.size = static_cast<std::int32_t>(reader.Integer(node, "size", 100, 1, 10'000));
  batch.items = batch.call.items;
  batch.call.items.clear();
  batch.results = reader.Text(node, "results", true);
  batch.result_key = reader.Text(node, "result_key", true);
  batch.result_status = reader.Text(node, "result_status", true);
  batch.result_error = reader.Text(node, "result_error", false);
  batch.call.holds = batch.results;
  if (batch.items.empty()) reader.Problem(node, "`items` is missing");
  if (object.unique_key.empty()) {
    reader.Problem(node, "a batch needs a `unique_key`: results come in any order");
  }
  object.batch = std::move(batch);
}

Object ReadObject(Reader& reader, const std::string& name, const YAML::Node& map) {
  Object object;
  object.name = name;
  if (!reader.Map(map, "an object",
                  {"target", "unique_key", "match", "marker", "fields", "lookups", "create",
                   "update", "upsert", "tags", "read", "batch"})) {
    return object;
  }
  static const std::vector<std::pair<std::string, TargetKind>> kKinds = {
      {"conditional", TargetKind::kConditional},
      {"upsert_by_unique_key", TargetKind::kUpsertByUniqueKey},
      {"create_only", TargetKind::kCreateOnly},
      {"match_not_unique", TargetKind::kMatchNotUnique}};
  const std::string kind = reader.Text(map, "target", true);
  bool known = kind.empty();
  Keys names;
  for (const auto& [text, value] : kKinds) {
    names.push_back(text);
    if (text != kind) continue;
    object.target = value;
    known = true;
  }
  if (!known) {
    const std::string nearest = config::Nearest(kind, names);
    reader.Problem(map["target"], "`" + kind + "` is no kind of target" +
                                      (nearest.empty() ? "" : "; did you mean `" + nearest + "`?"));
  }
  object.unique_key = reader.Text(map, "unique_key", false);
  object.match = reader.List(map, "match");
  object.marker = reader.Text(map, "marker", false);
  ReadFields(reader, map, object);
  for (const std::string& path : object.match) {
    const std::string problem = object.CheckField(path);
    if (!problem.empty()) reader.Problem(map["match"], problem);
  }
  for (const char* key : {"unique_key", "marker"}) {
    const std::string path = reader.Text(map, key, false);
    const std::string problem = path.empty() ? "" : object.CheckField(path);
    if (!problem.empty()) reader.Problem(map[key], problem);
  }
  object.lookups = ReadCalls(reader, map, "lookups", true);
  object.create = ReadCalls(reader, map, "create", false);
  object.update = ReadCalls(reader, map, "update", false);
  if (map["upsert"]) {
    if (map["create"] || map["update"]) {
      reader.Problem(map["upsert"], "give either `upsert`, or `create` and `update`");
    }
    object.create = object.update = ReadCalls(reader, map, "upsert", false);
    object.upserts = true;
  }
  if (object.create.empty() || object.update.empty()) {
    reader.Problem(map, "give `upsert`, or `create` and `update`");
  }
  if (object.creates_blindly() && object.lookups.empty()) {
    reader.Problem(map,
                   "a target without a unique key needs `lookups`, or a crash makes a second "
                   "record");
  }
  if (object.creates_blindly() && object.marker.empty()) {
    reader.Problem(map, "a target without a unique key needs a `marker`");
  }
  if (!object.creates_blindly() && object.unique_key.empty()) {
    reader.Problem(map, "`unique_key` is missing");
  }
  if (const YAML::Node tags = map["tags"]) {
    if (reader.Map(tags, "tags", {"lower_case", "add", "remove"})) {
      object.tags_lower_case = reader.Bool(tags, "lower_case");
      if (tags["add"] && tags["remove"]) {
        object.tags_add = ReadCall(reader, tags["add"], "a call", "tags.add");
        object.tags_remove = ReadCall(reader, tags["remove"], "a call", "tags.remove");
      } else {
        reader.Problem(tags, "tags need both `add` and `remove`");
      }
    }
  }
  if (const YAML::Node read = map["read"]) {
    object.read.emplace();
    object.read->call = ReadCall(reader, read, "a read", "read", {"record", "pairs", "loose"});
    object.read->record = reader.Text(read, "record", false);
    object.read->pairs_key = object.pairs_key;
    object.read->pairs_value = object.pairs_value;
    if (const YAML::Node pairs = read["pairs"]) {
      if (reader.Map(pairs, "pairs of a read", {"key", "value"})) {
        object.read->pairs_key = reader.Text(pairs, "key", true);
        object.read->pairs_value = reader.Text(pairs, "value", true);
      }
    }
    for (std::string& path : reader.List(read, "loose")) {
      const std::string problem = object.CheckField(path);
      if (!problem.empty()) reader.Problem(read["loose"], problem);
      object.read->loose.insert(std::move(path));
    }
    if (object.read->call.id.empty()) {
      reader.Problem(read, "a read needs an `id`, so that the answer is known to be of the record");
    }
  }
  ReadBatch(reader, map, object);
  return object;
}

ActionOperation ReadAction(Reader& reader, const std::string& name, const YAML::Node& map,
                           const Connector& connector) {
  ActionOperation action;
  action.name = name;
  action.call = ReadCall(reader, map, "an action", name,
                         {"object", "arguments", "optional_arguments", "lookup"});
  if (!map.IsMap()) return action;
  action.call.creates_or_acts = true;
  action.object = reader.Text(map, "object", true);
  if (!action.object.empty() && connector.FindObject(action.object) == nullptr) {
    Keys names;
    for (const auto& [object, unused] : connector.objects) names.push_back(object);
    const std::string nearest = config::Nearest(action.object, names);
    reader.Problem(map["object"], "object `" + action.object + "` is not described" +
                                      (nearest.empty() ? "" : "; did you mean `" + nearest + "`?"));
  }
  action.arguments = reader.List(map, "arguments");
  action.optional_arguments = reader.List(map, "optional_arguments");
  if (map["lookup"]) action.lookup = ReadLookup(reader, map["lookup"], "lookup");
  return action;
}

void ReadAuthentication(Reader& reader, const YAML::Node& root, Authentication& out) {
  const YAML::Node map = root["authentication"];
  if (!map) {
    reader.Problem(root, "`authentication` is missing");
    return;
  }
  if (!reader.Map(
          map, "authentication",
          {"kind", "header", "value", "request", "basic", "token", "expires_in", "renew_before"})) {
    return;
  }
  const std::string kind = reader.Text(map, "kind", true);
  if (kind == "token_request") {
    out.kind = Authentication::Kind::kTokenRequest;
  } else if (!kind.empty() && kind != "bearer") {
    reader.Problem(map["kind"], "`kind` is `bearer` or `token_request`");
  }
  if (map["header"]) out.header = reader.Text(map, "header", false);
  out.value = reader.Pattern(map, "value", true);
  if (out.kind != Authentication::Kind::kTokenRequest) return;
  if (map["request"]) {
    out.request = ReadCall(reader, map["request"], "a token request", "token");
  } else {
    reader.Problem(map, "`request` is missing");
  }
  if (const YAML::Node basic = map["basic"]) {
    if (reader.Map(basic, "basic", {"user", "password"})) {
      out.basic_user = reader.Pattern(basic, "user", true);
      out.basic_password = reader.Pattern(basic, "password", false);
    }
  }
  out.token = reader.Text(map, "token", true);
  out.expires_in = reader.Text(map, "expires_in", false);
  out.renew_before = reader.Time(map, "renew_before", std::chrono::seconds(60), Duration::zero(),
                                 std::chrono::hours(1));
}

std::optional<Duration> TimeOfDay(std::string_view text) {
  const auto number = [](std::string_view digits) -> std::optional<int> {
    int value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (digits.size() != 2 || error != std::errc() || end != digits.data() + 2) return std::nullopt;
    return value;
  };
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto hour = number(text.substr(0, colon));
  const auto minute = number(text.substr(colon + 1));
  if (!hour || !minute || *hour > 23 || *minute > 59 || *hour < 0 || *minute < 0) {
    return std::nullopt;
  }
  return std::chrono::hours(*hour) + std::chrono::minutes(*minute);
}

budget::WindowOptions ReadWindow(Reader& reader, const YAML::Node& map) {
  budget::WindowOptions out;
  if (!reader.Map(map, "a window",
                  {"name", "kind", "length", "requests", "reserve_for_live", "limit_header",
                   "remaining_header", "used_header", "reset_header",
                   "interval_milliseconds_header", "header_part", "resets_at"})) {
    return out;
  }
  out.name = reader.Text(map, "name", true);
  if (const std::string kind = reader.Text(map, "kind", false); kind == "fixed") {
    out.kind = budget::WindowOptions::Kind::kFixed;
  } else if (!kind.empty() && kind != "sliding") {
    reader.Problem(map["kind"], "`kind` must be sliding or fixed");
  }
  out.length = reader.Time(map, "length", out.length, std::chrono::milliseconds(100),
                           std::chrono::hours(24 * 31));
  out.requests = reader.Integer(map, "requests", 0, 1, 1'000'000'000);
  out.reserve_for_live =
      static_cast<double>(reader.Integer(map, "reserve_for_live", 0, 0, 90)) / 100;
  out.limit_header = reader.Text(map, "limit_header", false);
  out.remaining_header = reader.Text(map, "remaining_header", false);
  out.used_header = reader.Text(map, "used_header", false);
  out.reset_header = reader.Text(map, "reset_header", false);
  out.interval_milliseconds_header = reader.Text(map, "interval_milliseconds_header", false);
  out.header_part = static_cast<std::int32_t>(reader.Integer(map, "header_part", 0, 0, 8));
  if (const std::string text = reader.Text(map, "resets_at", false); !text.empty()) {
    out.resets_at = TimeOfDay(text);
    if (!out.resets_at)
      reader.Problem(map["resets_at"], "`resets_at` must be a time such as 00:00");
  }
  const bool is_fixed = out.kind == budget::WindowOptions::Kind::kFixed;
  if (!is_fixed && (out.resets_at || !out.reset_header.empty())) {
    reader.Problem(map, "a sliding window is never reset; write `kind: fixed`");
  }
  return out;
}

void ReadLimits(Reader& reader, const YAML::Node& root, Limits& out) {
  const YAML::Node map = root["limits"];
  if (!map) return;
  if (!reader.Map(map, "limits", {"concurrency", "requests_per_second", "scope", "windows"})) {
    return;
  }
  out.concurrency = static_cast<std::int32_t>(reader.Integer(map, "concurrency", 4, 1, 1024));
  const std::string rate = reader.Text(map, "requests_per_second", false);
  if (!rate.empty()) {
    double value = 0;
    const auto [end, error] = std::from_chars(rate.data(), rate.data() + rate.size(), value);
    if (error != std::errc() || end != rate.data() + rate.size() || value <= 0 || value > 100'000) {
      reader.Problem(map["requests_per_second"], "must be a number above 0, at most 100000");
    } else {
      out.requests_per_second = value;
    }
  }
  out.scope = reader.Pattern(map, "scope", false);
  for (const std::string& name : out.scope.placeholders()) {
    if (!name.starts_with("settings.")) {
      reader.Problem(map["scope"], "`scope` is made of settings alone, such as {settings.app}");
    }
  }
  const YAML::Node windows = map["windows"];
  if (!windows) return;
  if (!windows.IsSequence() || windows.size() > budget::kWindowsMax) {
    reader.Problem(windows, "`windows` must be a list of at most " +
                                std::to_string(budget::kWindowsMax) + " windows");
    return;
  }
  for (const YAML::Node& window : windows) out.windows.push_back(ReadWindow(reader, window));
}

void ReadSettings(Reader& reader, const YAML::Node& root, Connector& out) {
  Keys known;
  if (const YAML::Node settings = root["settings"]; settings && !settings.IsNull()) {
    if (reader.Map(settings, "settings", {})) {
      for (const auto& entry : settings) {
        const std::string name = entry.first.Scalar();
        Setting setting;
        if (name == "settle" || name == "index_lag") {
          reader.Problem(entry.first, "every connection has `" + name + "` already");
        }
        if (!entry.second.IsNull() &&
            reader.Map(entry.second, "a setting", {"required", "default"})) {
          setting.required = reader.Bool(entry.second, "required");
          setting.fallback = reader.Text(entry.second, "default", false);
        }
        known.push_back(name);
        out.settings.emplace(name, std::move(setting));
      }
    }
  }
  out.credentials = reader.List(root, "credentials");
  reader.Know(std::move(known), out.credentials);
}

void ReadRoot(Reader& reader, const YAML::Node& root, Connector& out) {
  if (!reader.Map(root, "a connector file",
                  {"integration", "base_url", "credentials", "settings", "authentication",
                   "headers", "limits", "settle", "index_lag", "answers", "objects", "actions"})) {
    return;
  }
  out.integration = reader.Text(root, "integration", true);
  out.base_url = reader.Text(root, "base_url", false);
  ReadSettings(reader, root, out);
  ReadAuthentication(reader, root, out.authentication);
  if (const YAML::Node headers = root["headers"]; headers && reader.Map(headers, "headers", {})) {
    for (const auto& entry : headers) {
      if (entry.second.IsScalar()) {
        out.headers.emplace_back(entry.first.Scalar(), entry.second.Scalar());
      } else {
        reader.Problem(entry.second, "a header must be a text");
      }
    }
  }
  ReadLimits(reader, root, out.limits);
  out.settle = reader.Time(root, "settle", out.settle, std::chrono::milliseconds(100),
                           std::chrono::hours(1));
  out.index_lag =
      reader.Time(root, "index_lag", out.index_lag, Duration::zero(), std::chrono::hours(1));
  out.answers = ReadAnswers(reader, root);
  const YAML::Node objects = root["objects"];
  if (!objects) {
    reader.Problem(root, "`objects` is missing");
  } else if (reader.Map(objects, "objects", {})) {
    for (const auto& entry : objects) {
      const std::string name = entry.first.Scalar();
      out.objects.emplace(name, ReadObject(reader, name, entry.second));
    }
  }
  if (const YAML::Node actions = root["actions"]; actions && reader.Map(actions, "actions", {})) {
    for (const auto& entry : actions) {
      const std::string name = entry.first.Scalar();
      out.actions.emplace(name, ReadAction(reader, name, entry.second, out));
    }
  }
}

}  // namespace

absl::StatusOr<Connector> Connector::Parse(std::string_view name, std::string_view yaml) {
  Reader reader(name);
  Connector out;
  YAML::Node root;
  if (const auto problem = yaml::Load(yaml, {.bytes_max = kFileBytesMax}, root)) {
    return absl::InvalidArgumentError(std::string(name) + ":" + std::to_string(problem->line) +
                                      ":" + std::to_string(problem->column) +
                                      ": error: " + problem->message + "\n");
  }
  try {
    ReadRoot(reader, root, out);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        std::string(name) + ":" + std::to_string(error.mark.line + 1) + ":" +
        std::to_string(error.mark.column + 1) + ": error: " + error.msg + "\n" + reader.problems());
  }
  if (!reader.problems().empty()) return absl::InvalidArgumentError(reader.problems());
  return out;
}

}  // namespace tributary::connector
