#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "libs/cel/code.h"
#include "libs/cel/functions.h"
#include "libs/cel/program.h"
#include "libs/cel/token.h"
#include "libs/nearest/nearest.h"

namespace tributary::cel {
namespace {

constexpr std::uint32_t kBroken = 0xFFFFFFFF;

bool IsMacro(std::string_view name) {
  return name == "filter" || name == "map" || name == "exists" || name == "all" ||
         name == "exists_one" || name == "existsOne";
}

Type Common(const Type& a, const Type& b) {
  if (a.kind == b.kind && a.kind != Type::Kind::kList && a.kind != Type::Kind::kMap) return a;
  if (a.kind == b.kind && a.element == b.element && a.fields == b.fields) return a;
  if (a.kind == Type::Kind::kNull) return b;
  if (b.kind == Type::Kind::kNull) return a;
  if (a.kind == Type::Kind::kList && b.kind == a.kind) return {Type::Kind::kList};
  return {};
}

// Recursive descent; types are derived while the tree grows, bottom up.
class Parser {
 public:
  Parser(std::string_view source, const Environment& environment, const Limits& limits,
         std::vector<Problem>& problems)
      : environment_(environment), limits_(limits), problems_(problems), lexer_(source) {
    code_.source = std::string(source);
    code_.variables = environment.variables.size();
    code_.slots = code_.variables;
  }

  std::optional<Program> Run() {
    const std::size_t before = problems_.size();
    Advance();
    const std::uint32_t root = Expression();
    if (!stopped_ && token_.kind != Token::Kind::kEnd) {
      Stop(token_.offset, "unexpected " + Describe(token_));
    }
    if (problems_.size() != before) return std::nullopt;
    code_.root = root;
    return Program(std::make_shared<const Program::Code>(std::move(code_)));
  }

 private:
  struct Local {
    std::string name;
    std::size_t slot = 0;
    Type type;
  };

  // ---- tokens ----

  void Advance() {
    if (stopped_) return;
    token_ = lexer_.Next();
    if (token_.kind == Token::Kind::kBad) Stop(token_.offset, token_.text);
  }
  bool Is(std::string_view symbol) const {
    return !stopped_ && token_.kind == Token::Kind::kSymbol && token_.text == symbol;
  }
  bool Take(std::string_view symbol) {
    if (!Is(symbol)) return false;
    Advance();
    return true;
  }
  bool Expect(std::string_view symbol) {
    if (Take(symbol)) return true;
    Stop(token_.offset, "expected `" + std::string(symbol) + "`, found " + Describe(token_));
    return false;
  }
  static std::string Describe(const Token& token) {
    if (token.kind == Token::Kind::kEnd) return "the end";
    if (token.kind == Token::Kind::kString) return "a string";
    return "`" + token.text + "`";
  }

  // A problem behind which the rest cannot be understood.
  std::uint32_t Stop(std::size_t offset, std::string message) {
    if (!stopped_) problems_.push_back({offset, std::move(message)});
    stopped_ = true;
    token_ = {Token::Kind::kEnd, offset, ""};
    return kBroken;
  }
  void Report(std::size_t offset, std::string message) {
    if (!stopped_) problems_.push_back({offset, std::move(message)});
  }

  // ---- nodes ----

  std::uint32_t Add(Node node) {
    if (stopped_) return kBroken;
    for (const std::uint32_t child : node.children) {
      node.depth = std::max(node.depth, code_.nodes[child].depth + 1);
    }
    if (node.depth > limits_.depth_max) return Stop(node.offset, "nested too deeply");
    if (code_.nodes.size() >= limits_.nodes_max) return Stop(node.offset, "too long");
    code_.nodes.push_back(std::move(node));
    return static_cast<std::uint32_t>(code_.nodes.size() - 1);
  }
  const Type& TypeOf(std::uint32_t node) const { return code_.nodes[node].type; }

  std::uint32_t Constant(std::size_t offset, Type::Kind kind, Value value) {
    Node node{.kind = Node::Kind::kConstant, .offset = offset};
    node.type.kind = kind;
    node.constant = std::move(value);
    return Add(std::move(node));
  }

  std::uint32_t MakeCall(std::size_t offset, Function function,
                         std::vector<std::uint32_t> arguments) {
    if (stopped_) return kBroken;
    Node node{.kind = Node::Kind::kCall, .offset = offset};
    node.function = function;
    std::vector<Type> types;
    for (const std::uint32_t argument : arguments) types.push_back(TypeOf(argument));
    std::string problem;
    node.type = CheckCall(function, types, problem);
    if (!problem.empty()) Report(offset, std::move(problem));
    if (function == Function::kMatches && arguments.size() == 2 &&
        code_.nodes[arguments[1]].kind == Node::Kind::kConstant &&
        TypeOf(arguments[1]).kind == Type::Kind::kString) {
      node.pattern = MakePattern(code_.nodes[arguments[1]].constant.text(), problem);
      if (!node.pattern) Report(code_.nodes[arguments[1]].offset, std::move(problem));
    }
    if ((function == Function::kEqual || function == Function::kNotEqual) && types.size() == 2 &&
        AreNeverEqual(types[0], types[1])) {
      Report(offset, "`" + std::string(Name(function)) + "` compares " + Name(types[0]) + " with " +
                         Name(types[1]) + ", which are never equal");
    }
    node.children = std::move(arguments);
    return Add(std::move(node));
  }

  static bool AreNeverEqual(const Type& a, const Type& b) {
    const auto group = [](Type::Kind kind) {
      return kind == Type::Kind::kDecimal ? Type::Kind::kInt : kind;
    };
    if (a.kind == Type::Kind::kDyn || b.kind == Type::Kind::kDyn) return false;
    if (a.kind == Type::Kind::kNull || b.kind == Type::Kind::kNull) return false;
    return group(a.kind) != group(b.kind);
  }

  void WantBool(std::uint32_t node, std::string_view where) {
    if (stopped_) return;
    const Type& type = TypeOf(node);
    if (type.kind == Type::Kind::kBool || type.kind == Type::Kind::kDyn) return;
    Report(code_.nodes[node].offset, std::string(where) + " wants bool, this is " + Name(type));
  }

  // ---- grammar ----

  std::uint32_t Expression() {
    // Each level of the grammar below is some frames of the stack.
    if (++nesting_ > limits_.depth_max / 2) return Stop(token_.offset, "nested too deeply");
    const std::uint32_t node = Ternary();
    --nesting_;
    return node;
  }

  std::uint32_t Ternary() {
    const std::uint32_t condition = Logical("||", Node::Kind::kOr);
    if (stopped_ || !Is("?")) return condition;
    const std::size_t offset = token_.offset;
    Advance();
    const std::uint32_t yes = Logical("||", Node::Kind::kOr);
    if (!Expect(":")) return kBroken;
    const std::uint32_t no = Expression();
    if (stopped_) return kBroken;
    WantBool(condition, "the condition before `?`");
    Node node{.kind = Node::Kind::kTernary, .offset = offset};
    node.type = Common(TypeOf(yes), TypeOf(no));
    node.children = {condition, yes, no};
    return Add(std::move(node));
  }

  std::uint32_t Logical(std::string_view symbol, Node::Kind kind) {
    const auto operand = [&] {
      return kind == Node::Kind::kOr ? Logical("&&", Node::Kind::kAnd) : Relation();
    };
    std::uint32_t left = operand();
    while (Is(symbol)) {
      const std::size_t offset = token_.offset;
      Advance();
      const std::uint32_t right = operand();
      if (stopped_) return kBroken;
      WantBool(left, "`" + std::string(symbol) + "`");
      WantBool(right, "`" + std::string(symbol) + "`");
      Node node{.kind = kind, .offset = offset};
      node.type.kind = Type::Kind::kBool;
      node.children = {left, right};
      left = Add(std::move(node));
    }
    return left;
  }

  std::uint32_t Binary(const std::map<std::string_view, Function>& operators,
                       std::uint32_t (Parser::*operand)()) {
    std::uint32_t left = (this->*operand)();
    while (!stopped_ && token_.kind == Token::Kind::kSymbol) {
      const auto found = operators.find(token_.text);
      if (found == operators.end()) break;
      const std::size_t offset = token_.offset;
      Advance();
      const std::uint32_t right = (this->*operand)();
      if (stopped_) return kBroken;
      left = MakeCall(offset, found->second, {left, right});
    }
    return left;
  }

  std::uint32_t Relation() {
    static const std::map<std::string_view, Function> kOperators = {
        {"<", Function::kLess},    {"<=", Function::kLessOrEqual},
        {">", Function::kGreater}, {">=", Function::kGreaterOrEqual},
        {"==", Function::kEqual},  {"!=", Function::kNotEqual},
        {"in", Function::kIn},
    };
    return Binary(kOperators, &Parser::Addition);
  }
  std::uint32_t Addition() {
    static const std::map<std::string_view, Function> kOperators = {{"+", Function::kAdd},
                                                                    {"-", Function::kSubtract}};
    return Binary(kOperators, &Parser::Multiplication);
  }
  std::uint32_t Multiplication() {
    static const std::map<std::string_view, Function> kOperators = {
        {"*", Function::kMultiply}, {"/", Function::kDivide}, {"%", Function::kRemainder}};
    return Binary(kOperators, &Parser::Unary);
  }

  std::uint32_t Unary() {
    if (!Is("!") && !Is("-")) return Member();
    const bool is_not = Is("!");
    const std::size_t offset = token_.offset;
    Advance();
    if (!is_not && !stopped_ && token_.kind == Token::Kind::kInt) {
      // The smallest integer has no positive twin.
      token_.text.insert(0, 1, '-');
      return Member();
    }
    if (++nesting_ > limits_.depth_max / 2) return Stop(offset, "nested too deeply");
    const std::uint32_t operand = Unary();
    --nesting_;
    if (stopped_) return kBroken;
    return MakeCall(offset, is_not ? Function::kNot : Function::kNegate, {operand});
  }

  std::uint32_t Member() {
    std::uint32_t node = Primary();
    while (!stopped_) {
      const std::size_t offset = token_.offset;
      if (Take(".")) {
        Take("?");
        if (stopped_) return kBroken;
        if (token_.kind != Token::Kind::kName) {
          return Stop(token_.offset, "expected a name behind `.`, found " + Describe(token_));
        }
        const std::string name = token_.text;
        const std::size_t name_offset = token_.offset;
        Advance();
        node = Take("(") ? Method(node, name, name_offset) : Select(node, name, name_offset);
      } else if (Take("[")) {
        Take("?");
        const std::uint32_t index = Expression();
        if (!Expect("]")) return kBroken;
        node = Index(node, index, offset);
      } else {
        break;
      }
    }
    return node;
  }

  std::uint32_t Select(std::uint32_t operand, const std::string& name, std::size_t offset) {
    if (stopped_) return kBroken;
    Node node{.kind = Node::Kind::kSelect, .offset = offset};
    const Type& type = TypeOf(operand);
    if (type.kind == Type::Kind::kMap) {
      if (type.fields) {
        const auto field = type.fields->find(name);
        if (field != type.fields->end()) node.type = field->second;
      }
    } else if (type.kind != Type::Kind::kDyn && type.kind != Type::Kind::kNull) {
      Report(offset, "`." + name + "` wants a map, this is " + Name(type));
    }
    node.name = name;
    node.children = {operand};
    return Add(std::move(node));
  }

  std::uint32_t Index(std::uint32_t operand, std::uint32_t index, std::size_t offset) {
    if (stopped_) return kBroken;
    const Node& key = code_.nodes[index];
    if (key.kind == Node::Kind::kConstant && key.type.kind == Type::Kind::kString &&
        TypeOf(operand).kind != Type::Kind::kList) {
      return Select(operand, std::string(key.constant.text()), key.offset);
    }
    Node node{.kind = Node::Kind::kIndex, .offset = offset};
    const Type& type = TypeOf(operand);
    const auto wants = [&](Type::Kind kind, std::string_view what) {
      if (key.type.kind != kind && key.type.kind != Type::Kind::kDyn) {
        Report(key.offset, std::string(what) + ", this is " + Name(key.type));
      }
    };
    if (type.kind == Type::Kind::kList) {
      if (type.element) node.type = *type.element;
      wants(Type::Kind::kInt, "the index of a list is an int");
    } else if (type.kind == Type::Kind::kMap) {
      wants(Type::Kind::kString, "the key of a map is a string");
    } else if (type.kind != Type::Kind::kDyn && type.kind != Type::Kind::kNull) {
      Report(offset, "`[…]` wants a list or a map, this is " + Name(type));
    }
    node.children = {operand, index};
    return Add(std::move(node));
  }

  std::vector<std::uint32_t> Arguments() {
    std::vector<std::uint32_t> arguments;
    if (Take(")")) return arguments;
    while (!stopped_) {
      arguments.push_back(Expression());
      if (Take(",")) continue;
      Expect(")");
      break;
    }
    return arguments;
  }

  std::uint32_t Method(std::uint32_t receiver, const std::string& name, std::size_t offset) {
    if (IsMacro(name)) return Macro(receiver, name, offset);
    std::vector<std::uint32_t> arguments = Arguments();
    arguments.insert(arguments.begin(), receiver);
    return NamedCall(name, offset, std::move(arguments));
  }

  std::uint32_t NamedCall(const std::string& name, std::size_t offset,
                          std::vector<std::uint32_t> arguments) {
    if (stopped_) return kBroken;
    if (name == "default" || name == "orValue") {
      if (arguments.size() != 2) {
        Report(offset, "`" + name + "` takes (value, fallback)");
        return Constant(offset, Type::Kind::kDyn, Value());
      }
      Node node{.kind = Node::Kind::kDefault, .offset = offset};
      node.type = Common(TypeOf(arguments[0]), TypeOf(arguments[1]));
      node.children = std::move(arguments);
      return Add(std::move(node));
    }
    const std::optional<Function> function = FindFunction(name);
    if (!function) {
      std::vector<std::string> known = FunctionNames();
      known.insert(known.end(),
                   {"default", "orValue", "has", "filter", "map", "exists", "all", "exists_one"});
      Report(offset, "no function `" + name + "`" + DidYouMean(name, known));
      return Constant(offset, Type::Kind::kDyn, Value());
    }
    return MakeCall(offset, *function, std::move(arguments));
  }

  std::uint32_t Macro(std::uint32_t range, const std::string& name, std::size_t offset) {
    if (stopped_) return kBroken;
    if (token_.kind != Token::Kind::kName) {
      return Stop(
          token_.offset,
          "`" + name + "` begins with the name of its variable, as in `list." + name + "(x, …)`");
    }
    Local local{token_.text, 0, {}};
    const Type range_type = TypeOf(range);
    if (range_type.kind == Type::Kind::kList) {
      if (range_type.element) local.type = *range_type.element;
    } else if (range_type.kind == Type::Kind::kMap) {
      local.type.kind = Type::Kind::kString;
    } else if (range_type.kind != Type::Kind::kDyn) {
      Report(offset, "`" + name + "` wants a list or a map, this is " + Name(range_type));
    }
    Advance();
    if (!Expect(",")) return kBroken;
    if (locals_.size() >= limits_.macro_depth_max) {
      return Stop(offset, "at most " + std::to_string(limits_.macro_depth_max) +
                              " macros inside of each other");
    }
    local.slot = code_.variables + locals_.size();
    code_.slots = std::max(code_.slots, local.slot + 1);
    const std::size_t slot = local.slot;
    locals_.push_back(std::move(local));
    std::vector<std::uint32_t> bodies;
    bodies.push_back(Expression());
    if (name == "map" && Take(",")) bodies.push_back(Expression());
    locals_.pop_back();
    if (!Expect(")")) return kBroken;

    Node node{.kind = Node::Kind::kTransform, .offset = offset};
    node.slot = slot;
    if (name == "map") {
      if (bodies.size() == 2) WantBool(bodies[0], "the condition of `map`");
      node.type = Type::ListOf(TypeOf(bodies.back()));
    } else {
      WantBool(bodies[0], "the condition of `" + name + "`");
      node.type.kind = Type::Kind::kBool;
      node.kind = name == "exists" ? Node::Kind::kExists
                  : name == "all"  ? Node::Kind::kAll
                                   : Node::Kind::kExistsOne;
      if (name == "filter") {
        node.kind = Node::Kind::kFilter;
        node.type = range_type.kind == Type::Kind::kList
                        ? range_type
                        : Type{Type::Kind::kList, nullptr, nullptr};
      }
    }
    node.children = {range};
    node.children.insert(node.children.end(), bodies.begin(), bodies.end());
    return Add(std::move(node));
  }

  std::uint32_t Primary() {
    if (stopped_) return kBroken;
    const Token token = token_;
    switch (token.kind) {
      case Token::Kind::kInt: {
        Advance();
        const bool negative = token.text.starts_with('-');
        std::string_view digits = token.text;
        if (negative) digits.remove_prefix(1);
        const bool hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
        if (hexadecimal) digits.remove_prefix(2);
        const std::string signed_digits = (negative ? "-" : "") + std::string(digits);
        std::int64_t integer = 0;
        const char* const end = signed_digits.data() + signed_digits.size();
        const auto [at, error] =
            std::from_chars(signed_digits.data(), end, integer, hexadecimal ? 16 : 10);
        if (error != std::errc() || at != end) {
          Report(token.offset, "`" + token.text + "` does not fit 64 bits");
        }
        return Constant(token.offset, Type::Kind::kInt, Value::Int(integer));
      }
      case Token::Kind::kDecimal: {
        Advance();
        const std::optional<Decimal> decimal = Decimal::Parse(token.text);
        if (!decimal) Report(token.offset, "`" + token.text + "` has too many digits");
        return Constant(token.offset, Type::Kind::kDecimal,
                        Value::OfDecimal(decimal.value_or(Decimal())));
      }
      case Token::Kind::kString:
        Advance();
        return Constant(token.offset, Type::Kind::kString, Value::String(token.text));
      case Token::Kind::kName:
        Advance();
        return NameOrCall(token);
      case Token::Kind::kSymbol:
        break;
      default:
        return Stop(token.offset, "expected a value, found " + Describe(token));
    }
    if (Take("(")) {
      const std::uint32_t inner = Expression();
      Expect(")");
      return inner;
    }
    if (Take("[")) return ListLiteral(token.offset);
    if (Take("{")) return MapLiteral(token.offset);
    return Stop(token.offset, "expected a value, found " + Describe(token));
  }

  std::uint32_t NameOrCall(const Token& token) {
    if (stopped_) return kBroken;
    if (token.text == "true" || token.text == "false") {
      return Constant(token.offset, Type::Kind::kBool, Value::Bool(token.text == "true"));
    }
    if (token.text == "null") return Constant(token.offset, Type::Kind::kNull, Value::Null());
    if (Take("(")) {
      if (token.text == "has") return Has(token.offset);
      return NamedCall(token.text, token.offset, Arguments());
    }
    for (auto local = locals_.rbegin(); local != locals_.rend(); ++local) {
      if (local->name == token.text) return VariableNode(token.offset, local->slot, local->type);
    }
    for (std::size_t i = 0; i < environment_.variables.size(); ++i) {
      if (environment_.variables[i].name == token.text) {
        return VariableNode(token.offset, i, environment_.variables[i].type);
      }
    }
    for (const auto& [name, why] : environment_.refused) {
      if (name == token.text) {
        Report(token.offset, "`" + name + "` " + why);
        return Constant(token.offset, Type::Kind::kDyn, Value());
      }
    }
    std::vector<std::string> known;
    for (const Local& local : locals_) known.push_back(local.name);
    for (const Variable& variable : environment_.variables) known.push_back(variable.name);
    Report(token.offset, "unknown name `" + token.text + "`" + DidYouMean(token.text, known));
    return Constant(token.offset, Type::Kind::kDyn, Value());
  }

  std::uint32_t VariableNode(std::size_t offset, std::size_t slot, const Type& type) {
    Node node{.kind = Node::Kind::kVariable, .offset = offset};
    node.slot = slot;
    node.type = type;
    return Add(std::move(node));
  }

  std::uint32_t Has(std::size_t offset) {
    const std::uint32_t path = Expression();
    if (!Expect(")")) return kBroken;
    if (code_.nodes[path].kind != Node::Kind::kSelect) {
      Report(offset, "`has` wants a path such as `has(customer.phone)`");
    }
    Node node{.kind = Node::Kind::kHas, .offset = offset};
    node.type.kind = Type::Kind::kBool;
    node.children = {path};
    return Add(std::move(node));
  }

  std::uint32_t ListLiteral(std::size_t offset) {
    Node node{.kind = Node::Kind::kList, .offset = offset};
    Type element;
    bool first = true;
    while (!stopped_ && !Is("]")) {
      const std::uint32_t item = Expression();
      if (stopped_) return kBroken;
      element = first ? TypeOf(item) : Common(element, TypeOf(item));
      first = false;
      node.children.push_back(item);
      if (!Take(",")) break;
    }
    if (!Expect("]")) return kBroken;
    node.type = first ? Type{Type::Kind::kList, nullptr, nullptr} : Type::ListOf(element);
    return Add(std::move(node));
  }

  std::uint32_t MapLiteral(std::size_t offset) {
    Node node{.kind = Node::Kind::kMap, .offset = offset};
    Type::Fields fields;
    while (!stopped_ && !Is("}")) {
      const Token key = token_;
      if (key.kind != Token::Kind::kString && key.kind != Token::Kind::kName) {
        return Stop(key.offset, "the key of a map is a string, found " + Describe(key));
      }
      Advance();
      if (!Expect(":")) return kBroken;
      const std::uint32_t item = Expression();
      if (stopped_) return kBroken;
      if (key.kind == Token::Kind::kName) {
        Report(key.offset, "the key of a map is a string: write \"" + key.text + "\"");
      } else if (!fields.emplace(key.text, TypeOf(item)).second) {
        Report(key.offset, "\"" + key.text + "\" stands twice");
      }
      node.names.push_back(key.text);
      node.children.push_back(item);
      if (!Take(",")) break;
    }
    if (!Expect("}")) return kBroken;
    node.type = Type::MapOf(std::move(fields));
    return Add(std::move(node));
  }

  const Environment& environment_;
  const Limits& limits_;
  std::vector<Problem>& problems_;
  Lexer lexer_;
  Token token_;
  bool stopped_ = false;
  std::size_t nesting_ = 0;
  std::vector<Local> locals_;
  Program::Code code_;
};

}  // namespace

std::string Name(const Type& type) {
  switch (type.kind) {
    case Type::Kind::kDyn:
      return "dyn";
    case Type::Kind::kNull:
      return "null";
    case Type::Kind::kBool:
      return "bool";
    case Type::Kind::kInt:
      return "int";
    case Type::Kind::kDecimal:
      return "decimal";
    case Type::Kind::kString:
      return "string";
    case Type::Kind::kList:
      return "list";
    case Type::Kind::kMap:
      return "map";
    case Type::Kind::kTimestamp:
      return "timestamp";
    case Type::Kind::kDuration:
      return "duration";
  }
  return "";
}

std::optional<Program> Compile(std::string_view source, const Environment& environment,
                               std::vector<Problem>& problems, const Limits& limits) {
  if (source.size() > limits.source_bytes_max) {
    problems.push_back({limits.source_bytes_max,
                        "longer than " + std::to_string(limits.source_bytes_max) + " bytes"});
    return std::nullopt;
  }
  return Parser(source, environment, limits, problems).Run();
}

}  // namespace tributary::cel
