#include "libs/mapping/rules.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <yaml-cpp/yaml.h>

#include "libs/cel/program.h"
#include "libs/mapping/catalogue.h"
#include "libs/mapping/compiled.h"
#include "libs/mapping/content_hash.h"
#include "libs/mapping/yaml_reader.h"

namespace tributary::mapping {

struct StepRule {
  std::string operation;
  std::vector<std::pair<std::string, Expression>> arguments;
  bool at_least_once = false;
};

struct Rule {
  std::string id;
  std::set<std::string> events;
  std::optional<Expression> condition;
  std::vector<StepRule> steps;
};

struct Rules::Code {
  SourceFile file;
  std::vector<Rule> rules;
};

namespace {

constexpr std::size_t kStepsMax = 32;

// In the order of ValuesOf().
cel::Environment EventEnvironment() {
  cel::Environment environment;
  environment.variables = {
      {"event", EventType()},
      {"customer", CustomerType()},
      {"subscription", SubscriptionType()},
      {"invoice", InvoiceType()},
      {"component", ComponentType()},
      {"subscriptions", cel::Type::ListOf(SubscriptionType())},
      {"invoices", cel::Type::ListOf(InvoiceType())},
      {"components", cel::Type::ListOf(ComponentType())},
      {"gone", {cel::Type::Kind::kBool, nullptr, nullptr}},
      {"now", {cel::Type::Kind::kTimestamp, nullptr, nullptr}},
  };
  return environment;
}

std::vector<cel::Value> ValuesOf(const EventView& view) {
  const std::optional<cel::Timestamp> now = cel::ParseTimestamp(view.now);
  return {cel::Value::FromJson(view.event),
          cel::Value::FromJson(view.customer),
          cel::Value::FromJson(view.subscription),
          cel::Value::FromJson(view.invoice),
          cel::Value::FromJson(view.component),
          cel::Value::FromJson(view.subscriptions),
          cel::Value::FromJson(view.invoices),
          cel::Value::FromJson(view.components),
          cel::Value::Bool(view.gone),
          now ? cel::Value::Time(*now) : cel::Value::Error("the event has no time")};
}

bool IsRuleId(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

class RuleCompiler {
 public:
  RuleCompiler(YamlReader& reader, const TargetCheck& check, Rules::Code& code)
      : reader_(reader), check_(check), code_(code), environment_(EventEnvironment()) {}

  void File(const YAML::Node& root) {
    const auto members = reader_.Members(root, {"rules"});
    const auto rules = members.find("rules");
    if (rules == members.end()) {
      if (root.IsMap()) reader_.Report(root, "`rules` is missing");
      return;
    }
    // No rules are rules too.
    if (rules->second.IsNull()) return;
    if (!rules->second.IsSequence()) {
      reader_.Report(rules->second, "`rules` is a list");
      return;
    }
    for (const YAML::Node& rule : rules->second) AddRule(rule);
  }

 private:
  void AddRule(const YAML::Node& node) {
    const auto members = reader_.Members(node, {"id", "when", "do"});
    if (!node.IsMap()) return;
    Rule rule;
    if (const auto id = members.find("id"); id != members.end()) {
      rule.id = reader_.Text(id->second, "id").value_or("");
      if (!rule.id.empty() && !IsRuleId(rule.id)) {
        reader_.Report(id->second, "an `id` has letters, digits, `-`, `_` and `.`, at most 64");
      }
      for (const Rule& other : code_.rules) {
        if (other.id == rule.id) reader_.Report(id->second, "`" + rule.id + "` stands twice");
      }
    } else {
      reader_.Report(node,
                     "`id` is missing: it stays when the rule changes, so that nothing is "
                     "done twice");
    }
    if (const auto when = members.find("when"); when != members.end()) {
      AddCondition(rule, when->second);
    } else {
      reader_.Report(node, "`when` is missing");
    }
    if (const auto steps = members.find("do"); steps != members.end()) {
      AddSteps(rule, steps->second);
    } else {
      reader_.Report(node, "`do` is missing");
    }
    code_.rules.push_back(std::move(rule));
  }

  void AddCondition(Rule& rule, const YAML::Node& node) {
    const auto members = reader_.Members(node, {"event", "condition"});
    if (!node.IsMap()) return;
    const auto event = members.find("event");
    if (event == members.end()) {
      reader_.Report(node, "`event` is missing");
    } else if (event->second.IsSequence()) {
      for (const YAML::Node& key : event->second) {
        rule.events.insert(reader_.Text(key, "event").value_or(""));
      }
      if (rule.events.empty()) reader_.Report(event->second, "`event` is a key, or a list of keys");
    } else {
      // Keys that nobody knows yet are allowed: sources add them without notice.
      rule.events.insert(reader_.Text(event->second, "event").value_or(""));
    }
    if (const auto condition = members.find("condition"); condition != members.end()) {
      rule.condition = CompileExpression(reader_, condition->second, "condition", environment_);
      if (rule.condition) {
        reader_.Want(condition->second, rule.condition->program, cel::Type::Kind::kBool,
                     "condition");
      }
    }
  }

  void AddSteps(Rule& rule, const YAML::Node& node) {
    if (!node.IsSequence() || node.size() == 0 || node.size() > kStepsMax) {
      reader_.Report(node, "`do` is a list of 1 to " + std::to_string(kStepsMax) + " operations");
      return;
    }
    for (const YAML::Node& item : node) {
      const auto members = reader_.Members(item, {"operation", "with", "at_least_once"});
      if (!item.IsMap()) continue;
      StepRule step;
      std::vector<std::string> names;
      if (const auto with = members.find("with"); with != members.end()) {
        for (const auto& [name, value] : reader_.Members(with->second, {})) {
          names.push_back(name);
          std::optional<Expression> expression =
              CompileExpression(reader_, value, name, environment_);
          if (expression) step.arguments.emplace_back(name, *std::move(expression));
        }
      }
      if (const auto operation = members.find("operation"); operation != members.end()) {
        step.operation = reader_.Text(operation->second, "operation").value_or("");
        if (check_.operation && !step.operation.empty()) {
          const std::string problem = check_.operation(step.operation, names);
          if (!problem.empty()) reader_.Report(operation->second, problem);
        }
      } else {
        reader_.Report(item, "`operation` is missing");
      }
      if (const auto repeat = members.find("at_least_once"); repeat != members.end()) {
        step.at_least_once = reader_.Boolean(repeat->second, "at_least_once").value_or(false);
      }
      rule.steps.push_back(std::move(step));
    }
  }

  YamlReader& reader_;
  const TargetCheck& check_;
  Rules::Code& code_;
  cel::Environment environment_;
};

// The steps of one rule. Empty: its condition does not hold.
std::vector<Step> StepsOf(const SourceFile& file, const Rule& rule,
                          const std::vector<cel::Value>& values) {
  std::string error;
  if (rule.condition) {
    const cel::Value holds = rule.condition->program.Evaluate(values);
    if (holds.kind() == cel::Value::Kind::kBool && !holds.boolean()) return {};
    if (holds.is_error()) {
      error = Explain(file, *rule.condition, rule.id + ".condition", holds);
    } else if (holds.kind() != cel::Value::Kind::kBool) {
      error = Explain(
          file, *rule.condition, rule.id + ".condition",
          cel::Value::Error("wants bool, this is " + std::string(cel::KindName(holds.kind()))));
    }
  }
  std::vector<Step> steps;
  for (std::size_t i = 0; i < rule.steps.size(); ++i) {
    const StepRule& step_rule = rule.steps[i];
    Step step;
    step.rule = rule.id;
    step.step = static_cast<std::int32_t>(i);
    step.operation = step_rule.operation;
    step.at_least_once = step_rule.at_least_once;
    step.error = error;
    for (const auto& [name, expression] : step_rule.arguments) {
      if (!step.error.empty()) break;
      const cel::Value value = expression.program.Evaluate(values);
      if (value.is_error()) {
        step.error = Explain(file, expression, rule.id + "." + name, value);
        break;
      }
      v1::Field argument;
      argument.set_path(name);
      if (ToFieldValue(value, *argument.mutable_value())) step.arguments.push_back(argument);
    }
    if (!step.error.empty()) step.arguments.clear();
    steps.push_back(std::move(step));
    // Whether the rule holds is one question; it is shown once.
    if (!error.empty()) break;
  }
  return steps;
}

}  // namespace

std::optional<Rules> Rules::Compile(std::string_view file, std::string_view yaml,
                                    std::vector<std::string>& problems, const TargetCheck& check) {
  const std::size_t before = problems.size();
  auto code = std::make_shared<Code>();
  code->file = {std::string(file), std::string(yaml)};
  YamlReader reader(file, yaml, problems);
  reader.Read([&](const YAML::Node& root) { RuleCompiler(reader, check, *code).File(root); });
  if (problems.size() != before) return std::nullopt;
  return Rules(std::move(code));
}

bool Rules::ListensTo(std::string_view event_key) const {
  return std::any_of(code_->rules.begin(), code_->rules.end(), [&](const Rule& rule) {
    return rule.events.contains(std::string(event_key));
  });
}

std::vector<Step> Rules::Fire(std::string_view event_key, const EventView& view) const {
  std::vector<Step> fired;
  if (!ListensTo(event_key)) return fired;
  const std::vector<cel::Value> values = ValuesOf(view);
  for (const Rule& rule : code_->rules) {
    if (!rule.events.contains(std::string(event_key))) continue;
    std::vector<Step> steps = StepsOf(code_->file, rule, values);
    std::move(steps.begin(), steps.end(), std::back_inserter(fired));
  }
  return fired;
}

}  // namespace tributary::mapping
