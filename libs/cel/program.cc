#include "libs/cel/program.h"

#include <algorithm>
#include <array>

#include "libs/cel/code.h"
#include "libs/cel/functions.h"
#include "libs/cel/token.h"

namespace tributary::cel {
namespace {

class Evaluator {
 public:
  Evaluator(const Program::Code& code, std::span<const Value> variables,
            const EvaluationLimits& limits)
      : code_(code), variables_(variables), locals_(code.slots - code.variables) {
    budget_.cost = limits.cost_max;
    budget_.text_bytes_max = limits.text_bytes_max;
  }

  Value Run() {
    Value value = Eval(code_.root);
    if (budget_.exhausted) {
      return Value::Error("the expression costs more than it may").At(stopped_at_);
    }
    return value;
  }

 private:
  // Not for what absorbs errors: those look first.
  Value Spent(const Node& node) {
    stopped_at_ = std::min(stopped_at_, node.offset);
    return Value::Error("").At(node.offset);
  }

  Value NotBool(const Node& node, std::string_view what, const Value& value) {
    return Value::Error(std::string(what) + " wants bool, this is " +
                        std::string(KindName(value.kind())))
        .At(node.offset);
  }

  const Value& Slot(std::size_t slot) const {
    return slot < variables_.size() ? variables_[slot] : locals_[slot - variables_.size()];
  }

  // The value where it is, else `made`, which then holds it.
  const Value& Look(std::uint32_t index, Value& made) {
    const Node& node = code_.nodes[index];
    const Value* there = nullptr;
    if (node.kind == Node::Kind::kConstant) there = &node.constant;
    if (node.kind == Node::Kind::kVariable) there = &Slot(node.slot);
    if (there == nullptr || there->is_error()) {
      made = Eval(index);
      return made;
    }
    if (budget_.Spend(1)) return *there;
    made = Spent(node);
    return made;
  }

  Value Eval(std::uint32_t index) {
    const Node& node = code_.nodes[index];
    if (!budget_.Spend(1)) return Spent(node);
    switch (node.kind) {
      case Node::Kind::kConstant:
        return node.constant;
      case Node::Kind::kVariable: {
        const Value& value = Slot(node.slot);
        return value.is_error() ? value.At(node.offset) : value;
      }
      case Node::Kind::kSelect:
        return Select(node);
      case Node::Kind::kIndex:
        return Index(node);
      case Node::Kind::kHas: {
        Value made;
        const Value& value = Look(node.children[0], made);
        return value.is_error() ? value : Value::Bool(!value.is_absent());
      }
      case Node::Kind::kList: {
        std::vector<Value> items;
        items.reserve(node.children.size());
        for (const std::uint32_t child : node.children) {
          items.push_back(Eval(child));
          if (items.back().is_error()) return items.back();
          if (items.back().is_absent()) items.back() = Value::Null();
        }
        return Value::OfList(std::move(items));
      }
      case Node::Kind::kMap: {
        std::vector<std::pair<std::string, Value>> members;
        for (std::size_t i = 0; i < node.children.size(); ++i) {
          Value value = Eval(node.children[i]);
          if (value.is_error()) return value;
          if (!value.is_absent()) members.emplace_back(node.names[i], std::move(value));
        }
        return Value::OfMap(std::move(members));
      }
      case Node::Kind::kAnd:
        return Logical(node, false);
      case Node::Kind::kOr:
        return Logical(node, true);
      case Node::Kind::kTernary: {
        const Value condition = Eval(node.children[0]);
        if (condition.is_error()) return condition;
        if (condition.kind() != Value::Kind::kBool) {
          return NotBool(node, "the condition before `?`", condition);
        }
        return Eval(node.children[condition.boolean() ? 1 : 2]);
      }
      case Node::Kind::kDefault: {
        Value value = Eval(node.children[0]);
        return value.is_nothing() ? Eval(node.children[1]) : value;
      }
      case Node::Kind::kCall: {
        // Nearly all have no more.
        if (node.children.size() <= 2) {
          std::array<Value, 2> few;
          return CallOf(node, std::span(few).first(node.children.size()));
        }
        std::vector<Value> many(node.children.size());
        return CallOf(node, many);
      }
      case Node::Kind::kFilter:
      case Node::Kind::kTransform:
      case Node::Kind::kExists:
      case Node::Kind::kAll:
      case Node::Kind::kExistsOne:
        return Macro(node);
    }
    return Value::Error("not known").At(node.offset);
  }

  // `arguments` has room for them.
  Value CallOf(const Node& node, std::span<Value> arguments) {
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      arguments[i] = Eval(node.children[i]);
      if (arguments[i].is_error()) return std::move(arguments[i]);
    }
    Value result = Call(node.function, arguments, node.pattern.get(), budget_);
    if (budget_.exhausted) return Spent(node);
    return result.is_error() ? result.At(node.offset) : result;
  }

  Value Select(const Node& node) {
    Value made;
    const Value& operand = Look(node.children[0], made);
    if (operand.is_error()) return operand;
    if (operand.is_nothing()) return {};
    if (operand.kind() != Value::Kind::kMap) {
      return Value::Error("`." + node.name + "` wants a map, this is " +
                          std::string(KindName(operand.kind())))
          .At(node.offset);
    }
    // A step of the walk is far cheaper than a node.
    if (!budget_.Spend(operand.map().size() / 16)) return Spent(node);
    Value found = operand.map().Find(node.name);
    return found.is_error() ? found.At(node.offset) : found;
  }

  Value Index(const Node& node) {
    Value made;
    const Value& operand = Look(node.children[0], made);
    if (operand.is_error()) return operand;
    Value made_index;
    const Value& index = Look(node.children[1], made_index);
    if (index.is_error()) return index;
    if (operand.is_nothing()) return {};
    Value found;
    if (operand.kind() == Value::Kind::kList && index.kind() == Value::Kind::kInt) {
      const std::int64_t at = index.integer();
      if (at < 0 || at >= static_cast<std::int64_t>(operand.list().size())) return {};
      found = operand.list().at(static_cast<std::size_t>(at));
    } else if (operand.kind() == Value::Kind::kMap && index.kind() == Value::Kind::kString) {
      if (!budget_.Spend(operand.map().size() / 16)) return Spent(node);
      found = operand.map().Find(index.text());
    } else {
      found = Value::Error("`[…]` takes (list, int) or (map, string), not (" +
                           std::string(KindName(operand.kind())) + ", " +
                           std::string(KindName(index.kind())) + ")");
    }
    return found.is_error() ? found.At(node.offset) : found;
  }

  // `decisive`: the value that decides, whatever the other operand is, even an error.
  Value Logical(const Node& node, bool decisive) {
    const std::string_view name = decisive ? "`||`" : "`&&`";
    Value left = Eval(node.children[0]);
    if (left.kind() == Value::Kind::kBool && left.boolean() == decisive) return left;
    Value right = Eval(node.children[1]);
    if (right.kind() == Value::Kind::kBool && right.boolean() == decisive) return right;
    if (left.is_error()) return left;
    if (left.kind() != Value::Kind::kBool) return NotBool(node, name, left);
    if (right.is_error()) return right;
    if (right.kind() != Value::Kind::kBool) return NotBool(node, name, right);
    return Value::Bool(!decisive);
  }

  Value Macro(const Node& node) {
    Value made;
    const Value& range = Look(node.children[0], made);
    if (range.is_error()) return range;
    const bool is_map = range.kind() == Value::Kind::kMap;
    if (!is_map && range.kind() != Value::Kind::kList) {
      return Value::Error("wants a list or a map, this is " + std::string(KindName(range.kind())) +
                          (range.is_nothing() ? "; default(x, []) gives a fallback" : ""))
          .At(node.offset);
    }
    const std::size_t size = is_map ? range.map().size() : range.list().size();
    std::vector<Value> kept;
    std::optional<Value> failure;
    std::int64_t count = 0;
    for (std::size_t i = 0; i < size; ++i) {
      if (budget_.exhausted) return Spent(node);
      const Value item =
          is_map ? Value::String(std::string(range.map().name(i))) : range.list().at(i);
      locals_[node.slot - variables_.size()] = item;
      Value result = Eval(node.children[1]);
      const bool is_condition = node.kind != Node::Kind::kTransform || node.children.size() == 3;
      if (is_condition && !result.is_error() && result.kind() != Value::Kind::kBool) {
        result = NotBool(node, "the condition", result);
      }
      if (result.is_error()) {
        if (node.kind != Node::Kind::kExists && node.kind != Node::Kind::kAll) return result;
        if (!failure) failure = result;
        continue;
      }
      switch (node.kind) {
        case Node::Kind::kFilter:
          if (result.boolean()) kept.push_back(item);
          break;
        case Node::Kind::kTransform:
          if (node.children.size() == 3) {
            if (!result.boolean()) break;
            result = Eval(node.children[2]);
            if (result.is_error()) return result;
          }
          if (result.is_absent()) result = Value::Null();
          kept.push_back(std::move(result));
          break;
        case Node::Kind::kExists:
          if (result.boolean()) return Value::Bool(true);
          break;
        case Node::Kind::kAll:
          if (!result.boolean()) return Value::Bool(false);
          break;
        default:
          if (result.boolean()) ++count;
          break;
      }
    }
    if (failure) return *failure;
    switch (node.kind) {
      case Node::Kind::kExists:
        return Value::Bool(false);
      case Node::Kind::kAll:
        return Value::Bool(true);
      case Node::Kind::kExistsOne:
        return Value::Bool(count == 1);
      default:
        return Value::OfList(std::move(kept));
    }
  }

  const Program::Code& code_;
  const std::span<const Value> variables_;
  /// Of macros, one for each that is inside of another.
  std::vector<Value> locals_;
  Budget budget_;
  std::size_t stopped_at_ = std::string::npos;
};

}  // namespace

Position PositionOf(std::string_view source, std::size_t offset) {
  Position position;
  for (std::size_t at = 0; at < std::min(offset, source.size()); ++at) {
    if (source[at] == '\n') {
      ++position.line;
      position.column = 1;
    } else if (!IsContinuation(source[at])) {
      ++position.column;
    }
  }
  return position;
}

std::string CaretText(std::string_view source, std::size_t offset) {
  offset = std::min(offset, source.size());
  const std::size_t before = offset == 0 ? std::string_view::npos : source.rfind('\n', offset - 1);
  const std::size_t begin = before == std::string_view::npos ? 0 : before + 1;
  const std::size_t end = std::min(source.find('\n', offset), source.size());
  std::string text = "  | " + std::string(source.substr(begin, end - begin)) + "\n  | ";
  for (std::size_t at = begin; at < offset; ++at) {
    if (!IsContinuation(source[at])) text += source[at] == '\t' ? '\t' : ' ';
  }
  return text + "^";
}

Value Program::Evaluate(std::span<const Value> variables, const EvaluationLimits& limits) const {
  if (variables.size() != code_->variables) {
    return Value::Error("the expression was compiled for other variables").At(0);
  }
  return Evaluator(*code_, variables, limits).Run();
}

const Type& Program::type() const { return code_->nodes[code_->root].type; }

const std::string& Program::source() const { return code_->source; }

std::string Program::Explain(const Value& error) const {
  const std::size_t offset = error.error_offset().value_or(0);
  const Position position = PositionOf(code_->source, offset);
  return std::to_string(position.line) + ":" + std::to_string(position.column) + ": " +
         error.error() + "\n" + CaretText(code_->source, offset);
}

}  // namespace tributary::cel
