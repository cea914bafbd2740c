#include "libs/mapping/mapping.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <span>
#include <utility>

#include <yaml-cpp/yaml.h>

#include "libs/cel/program.h"
#include "libs/mapping/catalogue.h"
#include "libs/mapping/compiled.h"
#include "libs/mapping/content_hash.h"
#include "libs/mapping/yaml_reader.h"
#include "libs/nearest/nearest.h"

namespace tributary::mapping {

struct FieldRule {
  std::string path;
  Expression value;
  v1::Field::OnNull on_null = v1::Field::ON_NULL_LEAVE;
  /// The target's own people keep it: it is checked, and never sent.
  bool target_owns = false;
  /// Of a path that ends in `*`: the list of its keys. `value` then sees one more name.
  std::optional<Expression> each;
};

struct TagRule {
  std::string tag;
  std::optional<Expression> when;
};

struct ObjectRules {
  std::string name;
  std::vector<std::string> match;
  std::string tag_prefix;
  std::optional<Expression> when;
  std::vector<FieldRule> fields;
  std::optional<Expression> tags;
  std::vector<TagRule> tag_list;
};

struct Mapping::Code {
  SourceFile file;
  std::vector<ObjectRules> objects;
};

namespace {

// Beyond it nothing is a field any more, but a way to fill a topic.
constexpr std::size_t kFieldsMax = 1000;

// In the order of ValuesOf().
cel::Environment ViewEnvironment() {
  const cel::Type dyn;
  cel::Environment environment;
  environment.variables = {
      {"customer", CustomerType()},
      {"subscriptions", cel::Type::ListOf(SubscriptionType())},
      {"invoices", cel::Type::ListOf(InvoiceType())},
      {"components", cel::Type::ListOf(ComponentType())},
      {"past", cel::Type::MapOf({{"subscriptions", cel::Type::ListOf(SubscriptionType())},
                                 {"invoices", cel::Type::ListOf(InvoiceType())},
                                 {"components", cel::Type::ListOf(ComponentType())}})},
      {"gone", {cel::Type::Kind::kBool, nullptr, nullptr}},
  };
  environment.refused = {
      {"now", "exists in rules only: a mapping sees nothing but the customer's entities"},
      {"event", "exists in rules only"},
      {"subscription", "exists in rules only; a mapping has `subscriptions`"},
      {"invoice", "exists in rules only; a mapping has `invoices`"},
  };
  return environment;
}

std::array<cel::Value, 6> ValuesOf(const View& view) {
  return {cel::Value::FromJson(view.customer), cel::Value::FromJson(view.subscriptions),
          cel::Value::FromJson(view.invoices), cel::Value::FromJson(view.components),
          cel::Value::FromJson(view.past),     cel::Value::Bool(view.gone)};
}

bool IsPath(std::string_view path) {
  return !path.empty() && path.front() != '.' && path.back() != '.' &&
         path.find("..") == std::string_view::npos;
}

class Compiler {
 public:
  Compiler(YamlReader& reader, const TargetCheck& check, Mapping::Code& code)
      : reader_(reader), check_(check), code_(code), environment_(ViewEnvironment()) {}

  void File(const YAML::Node& root) {
    if (root.IsMap() && root["objects"]) {
      const auto members = reader_.Members(root, {"objects"});
      const auto objects = members.find("objects");
      if (objects == members.end()) return;
      if (!objects->second.IsSequence() || objects->second.size() == 0) {
        reader_.Report(objects->second, "`objects` is a list of objects");
        return;
      }
      for (const YAML::Node& object : objects->second) Object(object);
      return;
    }
    Object(root);
  }

 private:
  void Object(const YAML::Node& node) {
    const auto members = reader_.Members(
        node, {"object", "match", "tag_prefix", "when", "fields", "tags", "on_null"});
    ObjectRules object;
    const auto find = [&](const char* name) {
      const auto found = members.find(name);
      return found == members.end() ? nullptr : &found->second;
    };
    if (const YAML::Node* name = find("object")) {
      object.name = reader_.Text(*name, "object").value_or("");
      for (const ObjectRules& other : code_.objects) {
        if (other.name == object.name) {
          reader_.Report(*name, "object `" + object.name + "` stands twice");
        }
      }
      if (check_.object) {
        const std::string problem = check_.object(object.name);
        if (!problem.empty()) reader_.Report(*name, problem);
      }
    } else if (node.IsMap()) {
      reader_.Report(node, "`object` is missing");
    }
    if (const YAML::Node* prefix = find("tag_prefix")) {
      object.tag_prefix = reader_.Text(*prefix, "tag_prefix").value_or("");
    }
    if (const YAML::Node* when = find("when")) {
      object.when = CompileExpression(reader_, *when, "when", environment_);
      if (object.when) {
        reader_.Want(*when, object.when->program, cel::Type::Kind::kBool, "when");
      }
    }
    v1::Field::OnNull on_null = v1::Field::ON_NULL_LEAVE;
    if (const YAML::Node* policy = find("on_null")) on_null = OnNull(*policy);
    if (const YAML::Node* fields = find("fields")) {
      if (fields->IsMap()) {
        for (const auto& [path, value] : reader_.Members(*fields, {})) {
          AddField(object, path, value, on_null);
        }
      } else {
        reader_.Report(*fields, "`fields` is a map of target path and expression");
      }
    } else if (node.IsMap()) {
      reader_.Report(node, "`fields` is missing");
    }
    if (const YAML::Node* match = find("match")) AddMatch(object, *match);
    if (const YAML::Node* tags = find("tags")) AddTags(object, *tags);
    code_.objects.push_back(std::move(object));
  }

  v1::Field::OnNull OnNull(const YAML::Node& node) {
    const std::string policy = node.IsScalar() ? node.Scalar() : "";
    if (policy == "clear") return v1::Field::ON_NULL_CLEAR;
    if (policy != "leave") reader_.Report(node, "`on_null` is `leave` or `clear`");
    return v1::Field::ON_NULL_LEAVE;
  }

  void AddField(ObjectRules& object, const std::string& path, const YAML::Node& node,
                v1::Field::OnNull on_null) {
    const bool is_many = path.size() > 2 && path.ends_with(".*");
    const std::string plain = is_many ? path.substr(0, path.size() - 2) : path;
    if (!IsPath(plain) || plain.find('*') != std::string::npos) {
      reader_.Report(node, "`" + path + "` is no path: names joined by `.`, `.*` only at the end");
      return;
    }
    if (check_.field) {
      const std::string problem = check_.field(object.name, is_many ? plain + ".key" : path);
      if (!problem.empty()) reader_.Report(node, problem);
    }
    if (node.IsScalar()) {
      if (is_many) {
        reader_.Report(node, "`" + path + "` wants {each:, as:, value:}");
        return;
      }
      std::optional<Expression> value = CompileExpression(reader_, node, path, environment_);
      if (value) object.fields.push_back({path, *std::move(value), on_null, false, std::nullopt});
      return;
    }
    const auto members = reader_.Members(
        node, is_many ? std::vector<std::string>{"value", "on_null", "owner", "each", "as"}
                      : std::vector<std::string>{"value", "on_null", "owner"});
    const auto find = [&](const char* name) {
      const auto found = members.find(name);
      return found == members.end() ? nullptr : &found->second;
    };
    if (const YAML::Node* policy = find("on_null")) on_null = OnNull(*policy);
    bool target_owns = false;
    if (const YAML::Node* owner = find("owner")) {
      target_owns = owner->IsScalar() && owner->Scalar() == "target";
      if (!target_owns && !(owner->IsScalar() && owner->Scalar() == "source")) {
        reader_.Report(*owner, "`owner` is `source` or `target`");
      }
    }
    std::optional<Expression> each;
    cel::Environment environment = environment_;
    if (is_many) {
      const YAML::Node* keys = find("each");
      const YAML::Node* name = find("as");
      if (keys == nullptr || name == nullptr) {
        reader_.Report(node, "`" + path + "` wants {each:, as:, value:}");
        return;
      }
      each = CompileExpression(reader_, *keys, "each", environment_);
      if (each) reader_.Want(*keys, each->program, cel::Type::Kind::kList, "each");
      const std::string variable = reader_.Text(*name, "as").value_or("");
      for (const cel::Variable& taken : environment_.variables) {
        if (taken.name == variable) reader_.Report(*name, "`" + variable + "` is taken");
      }
      environment.variables.push_back({variable, {cel::Type::Kind::kString, nullptr, nullptr}});
    }
    const YAML::Node* source = find("value");
    if (source == nullptr) {
      if (node.IsMap()) reader_.Report(node, "`value` is missing");
      return;
    }
    std::optional<Expression> value = CompileExpression(reader_, *source, path, environment);
    if (!value || (is_many && !each)) return;
    object.fields.push_back({plain, *std::move(value), on_null, target_owns, std::move(each)});
  }

  void AddMatch(ObjectRules& object, const YAML::Node& node) {
    if (!node.IsSequence()) {
      reader_.Report(node, "`match` is a list of fields");
      return;
    }
    std::vector<std::string> paths;
    for (const FieldRule& field : object.fields) paths.push_back(field.path);
    for (const YAML::Node& item : node) {
      const std::string path = reader_.Text(item, "match").value_or("");
      if (path.empty()) continue;
      if (std::find(paths.begin(), paths.end(), path) == paths.end()) {
        reader_.Report(item, "`match` names `" + path + "`, which is not among the fields" +
                                 DidYouMean(path, paths));
        continue;
      }
      object.match.push_back(path);
    }
  }

  void AddTags(ObjectRules& object, const YAML::Node& node) {
    if (object.tag_prefix.empty()) {
      reader_.Report(node, "`tags` want a `tag_prefix`: a mapping owns only tags under its own");
    }
    if (node.IsScalar()) {
      object.tags = CompileExpression(reader_, node, "tags", environment_);
      if (object.tags) {
        reader_.Want(node, object.tags->program, cel::Type::Kind::kList, "tags");
      }
      return;
    }
    if (!node.IsSequence()) {
      reader_.Report(node, "`tags` is an expression, or a list of {tag:, when:}");
      return;
    }
    for (const YAML::Node& item : node) {
      const auto members = reader_.Members(item, {"tag", "when"});
      TagRule tag;
      const auto name = members.find("tag");
      if (name == members.end()) {
        if (item.IsMap()) reader_.Report(item, "`tag` is missing");
        continue;
      }
      tag.tag = reader_.Text(name->second, "tag").value_or("");
      if (const auto when = members.find("when"); when != members.end()) {
        tag.when = CompileExpression(reader_, when->second, "when", environment_);
        if (tag.when) {
          reader_.Want(when->second, tag.when->program, cel::Type::Kind::kBool, "when");
        }
      }
      object.tag_list.push_back(std::move(tag));
    }
  }

  YamlReader& reader_;
  const TargetCheck& check_;
  Mapping::Code& code_;
  cel::Environment environment_;
};

class Application {
 public:
  /// `state` is empty.
  Application(const SourceFile& file, const ObjectRules& object, std::span<const cel::Value> values,
              bool gone, v1::DesiredState& state)
      : file_(file), object_(object), values_(values), gone_(gone), state_(state) {}

  /// Returns what is wrong.
  std::string Run() {
    state_.set_object(object_.name);
    if (!object_.tag_prefix.empty()) state_.set_tag_prefix(object_.tag_prefix);
    const std::optional<bool> wanted = Holds(object_.when, "when");
    if (wanted && !*wanted) {
      state_.set_presence(v1::DesiredState::PRESENCE_UNWANTED);
      state_.set_content_hash(ContentHash(state_));
      return "";
    }
    state_.set_presence(gone_ ? v1::DesiredState::PRESENCE_GONE
                              : v1::DesiredState::PRESENCE_PRESENT);
    for (const FieldRule& field : object_.fields) {
      if (error_.empty()) AddField(field);
    }
    if (error_.empty()) AddTags();
    if (!error_.empty()) {
      state_.clear_fields();
      return std::move(error_);
    }
    for (const std::string& path : object_.match) {
      for (const v1::Field& field : state_.fields()) {
        if (field.path() == path) *state_.add_match() = field;
      }
    }
    state_.set_content_hash(ContentHash(state_));
    return "";
  }

 private:
  cel::Value Evaluate(const Expression& expression, std::string_view what,
                      std::span<const cel::Value> values) {
    cel::Value value = expression.program.Evaluate(values);
    if (value.is_error()) Fail(expression, what, value);
    return value;
  }

  void Fail(const Expression& expression, std::string_view what, const cel::Value& error) {
    if (error_.empty()) error_ = Explain(file_, expression, what, error);
  }

  // True without an expression. None: failed.
  std::optional<bool> Holds(const std::optional<Expression>& when, std::string_view what) {
    if (!when) return true;
    const cel::Value value = Evaluate(*when, what, values_);
    if (value.is_error()) return std::nullopt;
    if (value.kind() == cel::Value::Kind::kBool) return value.boolean();
    Fail(*when, what,
         cel::Value::Error("wants bool, this is " + std::string(cel::KindName(value.kind()))));
    return std::nullopt;
  }

  void AddField(const FieldRule& field) {
    if (!field.each) {
      SetField(field, field.path, Evaluate(field.value, field.path, values_));
      return;
    }
    const cel::Value keys = Evaluate(*field.each, field.path, values_);
    if (keys.is_error() || keys.is_nothing()) return;
    if (keys.kind() != cel::Value::Kind::kList) {
      Fail(*field.each, field.path,
           cel::Value::Error("`each` wants a list, this is " +
                             std::string(cel::KindName(keys.kind()))));
      return;
    }
    if (keys.list().size() == 0) return;
    std::vector<cel::Value> values;
    values.reserve(values_.size() + 1);
    values.assign(values_.begin(), values_.end());
    values.emplace_back();
    for (std::size_t i = 0; i < keys.list().size() && error_.empty(); ++i) {
      values.back() = keys.list().at(i);
      const bool is_name = values.back().kind() == cel::Value::Kind::kString &&
                           IsPath(values.back().text()) &&
                           values.back().text().find('.') == std::string_view::npos;
      if (!is_name) {
        Fail(*field.each, field.path,
             cel::Value::Error("element " + std::to_string(i) +
                               " of `each` is not a name without points"));
        return;
      }
      const std::string path = field.path + "." + std::string(values.back().text());
      SetField(field, path, Evaluate(field.value, path, values));
    }
  }

  void SetField(const FieldRule& rule, const std::string& path, const cel::Value& value) {
    if (!error_.empty() || rule.target_owns || value.is_absent()) return;
    if (state_.fields_size() >= static_cast<int>(kFieldsMax)) {
      Fail(rule.value, path,
           cel::Value::Error("more than " + std::to_string(kFieldsMax) + " fields"));
      return;
    }
    v1::Field& field = FieldAt(path);
    field.set_path(path);
    field.set_on_null(rule.on_null);
    ToFieldValue(value, *field.mutable_value());
  }

  // Empty, and in its place: they stay sorted by path, each once. Rules are sorted too, so that it
  // is hardly ever anywhere but at the end.
  v1::Field& FieldAt(const std::string& path) {
    google::protobuf::RepeatedPtrField<v1::Field>& fields = *state_.mutable_fields();
    const auto at = fields.empty() || fields.rbegin()->path() < path
                        ? fields.end()
                        : std::lower_bound(fields.begin(), fields.end(), path,
                                           [](const v1::Field& field, const std::string& wanted) {
                                             return field.path() < wanted;
                                           });
    if (at == fields.end()) return *fields.Add();
    if (at->path() == path) {
      at->Clear();
      return *at;
    }
    const auto index = at - fields.begin();
    fields.Add();
    std::rotate(fields.pointer_begin() + index, fields.pointer_end() - 1, fields.pointer_end());
    return fields[static_cast<int>(index)];
  }

  void AddTags() {
    if (!object_.tags && object_.tag_list.empty()) return;
    std::set<std::string> tags;
    if (object_.tags) {
      const cel::Value list = Evaluate(*object_.tags, "tags", values_);
      if (list.is_error() || list.is_nothing()) return;
      if (list.kind() != cel::Value::Kind::kList) {
        Fail(*object_.tags, "tags",
             cel::Value::Error("wants a list, this is " + std::string(cel::KindName(list.kind()))));
        return;
      }
      for (std::size_t i = 0; i < list.list().size(); ++i) {
        const cel::Value tag = list.list().at(i);
        if (tag.is_nothing()) continue;
        if (tag.kind() != cel::Value::Kind::kString) {
          Fail(*object_.tags, "tags",
               cel::Value::Error("element " + std::to_string(i) + " is " +
                                 std::string(cel::KindName(tag.kind())) + ", not string"));
          return;
        }
        tags.insert(object_.tag_prefix + std::string(tag.text()));
      }
    }
    for (const TagRule& rule : object_.tag_list) {
      const std::optional<bool> holds = Holds(rule.when, "tags");
      if (!holds) return;
      if (*holds) tags.insert(object_.tag_prefix + rule.tag);
    }
    for (const std::string& tag : tags) state_.add_tags(tag);
  }

  const SourceFile& file_;
  const ObjectRules& object_;
  const std::span<const cel::Value> values_;
  const bool gone_;
  v1::DesiredState& state_;
  std::string error_;
};

}  // namespace

std::optional<Mapping> Mapping::Compile(std::string_view file, std::string_view yaml,
                                        std::vector<std::string>& problems,
                                        const TargetCheck& check) {
  const std::size_t before = problems.size();
  auto code = std::make_shared<Code>();
  code->file = {std::string(file), std::string(yaml)};
  YamlReader reader(file, yaml, problems);
  reader.Read([&](const YAML::Node& root) { Compiler(reader, check, *code).File(root); });
  if (problems.size() != before) return std::nullopt;
  return Mapping(std::move(code));
}

std::vector<std::string> Mapping::objects() const {
  std::vector<std::string> names;
  for (const ObjectRules& object : code_->objects) names.push_back(object.name);
  return names;
}

std::size_t Mapping::object_count() const { return code_->objects.size(); }

const std::string& Mapping::object(std::size_t index) const { return code_->objects[index].name; }

std::vector<DesiredRecord> Mapping::Apply(const View& view) const {
  std::vector<DesiredRecord> records(code_->objects.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i].error = ApplyTo(view, i, records[i].state);
  }
  return records;
}

std::string Mapping::ApplyTo(const View& view, std::size_t index, v1::DesiredState& state) const {
  const std::array<cel::Value, 6> values = ValuesOf(view);
  return Application(code_->file, code_->objects[index], values, view.gone, state).Run();
}

}  // namespace tributary::mapping
