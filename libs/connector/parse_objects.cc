#include "libs/connector/parse.h"
#include "libs/nearest/nearest.h"

namespace tributary::connector {
namespace {

void ReadFields(FileReader& reader, const YAML::Node& map, Object& object) {
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

void ReadBatch(FileReader& reader, const YAML::Node& map, Object& object) {
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

void ReadConfirmations(FileReader& reader, const YAML::Node& map, const Object& object) {
  Keys names;
  for (const Call& lookup : object.lookups) names.push_back(lookup.name);
  for (const Call& call : object.update) {
    if (call.confirmed_by.empty() || object.FindLookup(call.confirmed_by) != nullptr) continue;
    reader.Problem(map["update"], "`" + call.name + "` is `confirmed_by` `" + call.confirmed_by +
                                      "`, which is no look-up of this object" +
                                      DidYouMean(call.confirmed_by, names));
  }
}

}  // namespace

Object ReadObject(FileReader& reader, const std::string& name, const YAML::Node& map) {
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
    reader.Problem(map["target"], "`" + kind + "` is no kind of target" + DidYouMean(kind, names));
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
  ReadConfirmations(reader, map, object);
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

ActionOperation ReadAction(FileReader& reader, const std::string& name, const YAML::Node& map,
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
    reader.Problem(map["object"], "object `" + action.object + "` is not described" +
                                      DidYouMean(action.object, names));
  }
  action.arguments = reader.List(map, "arguments");
  action.optional_arguments = reader.List(map, "optional_arguments");
  if (map["lookup"]) action.lookup = ReadLookup(reader, map["lookup"], "lookup");
  return action;
}

}  // namespace tributary::connector
