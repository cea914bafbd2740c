#include "libs/cel/program.h"

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::cel {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kCustomer = R"({
  "id": 42, "first_name": "Zo\u00eb", "last_name": "van Dam", "phone": null, "email": "Z@X.test",
  "balance": "12.50", "price": 10.50, "big": 123456789012345678901234567890, "vip": true,
  "created_at": "2021-03-29T07:47:00-04:00", "huge": 1e-2000000,
  "address": {"city": "Utrecht", "lines": ["a", "b"]}, "mixed": {"a": [1, "2", null]}})";

constexpr std::string_view kSubscriptions = R"([
  {"id": 1, "state": "active", "cents": 1050, "product": {"handle": "pro"}},
  {"id": 2, "state": "canceled", "cents": -50, "product": {"handle": "basic"}},
  {"id": 3, "state": "active", "cents": 7, "product": null}])";

Environment TestEnvironment() {
  const auto type = [](Type::Kind kind) { return Type{kind, nullptr, nullptr}; };
  Environment environment;
  environment.variables = {
      {"customer", Type::MapOf({{"id", type(Type::Kind::kInt)},
                                {"first_name", type(Type::Kind::kString)},
                                {"last_name", type(Type::Kind::kString)},
                                {"phone", type(Type::Kind::kString)},
                                {"vip", type(Type::Kind::kBool)}})},
      {"subscriptions", Type::ListOf(Type::MapOf({{"id", type(Type::Kind::kInt)},
                                                  {"state", type(Type::Kind::kString)}}))},
      {"gone", type(Type::Kind::kBool)},
  };
  environment.refused = {{"now", "exists in rules only"}};
  return environment;
}

// The value as text; `error 1:5: …` with its caret; `refused 1:5: …`.
std::string Outcome(std::string_view source, const EvaluationLimits& limits = {}) {
  static json::Tree tree;
  static const json::Node customer = *tree.Parse(kCustomer);
  static const json::Node subscriptions = *tree.Parse(kSubscriptions);
  const Environment environment = TestEnvironment();
  std::vector<Problem> problems;
  const std::optional<Program> program = Compile(source, environment, problems);
  if (!program) {
    std::string text;
    for (const Problem& problem : problems) {
      const Position position = PositionOf(source, problem.offset);
      text += "refused " + std::to_string(position.line) + ":" + std::to_string(position.column) +
              ": " + problem.message + "\n" + CaretText(source, problem.offset) + "\n";
    }
    return text;
  }
  const Value values[] = {Value::FromJson(customer), Value::FromJson(subscriptions),
                          Value::Bool(false)};
  const Value value = program->Evaluate(values, limits);
  if (value.is_error()) return "error " + program->Explain(value);
  if (value.is_absent()) return "absent";
  std::string text(KindName(value.kind()));
  text += ' ';
  if (value.kind() == Value::Kind::kString) return text + std::string(value.text());
  AppendCanonical(text, value);
  return text;
}

std::string Number(std::string_view kind, std::string_view text) {
  return std::string(kind) + " n" + std::to_string(text.size()) + ":" + std::string(text);
}

TEST(CelTest, KnowsLiterals) {
  const struct {
    std::string_view source;
    std::string value;
  } kCases[] = {
      {"1", Number("int", "1")},
      {"0x1F", Number("int", "31")},
      {"7u", Number("int", "7")},
      {"-9223372036854775808", Number("int", "-9223372036854775808")},
      {"1.50", Number("decimal", "1.5")},
      {".5e1", Number("decimal", "5")},
      {"'a'", "string a"},
      {"\"a'b\"", "string a'b"},
      {R"('\x41\u00eb\U0001F600\101\n\\')", "string A\xC3\xAB\xF0\x9F\x98\x80\101\n\\"},
      {R"(r'\d+\n')", "string \\d+\\n"},
      {"'''a'b\nc'''", "string a'b\nc"},
      {"true", "bool t"},
      {"null", "null 0"},
      {"[]", "list []"},
      {"[1, 'a', null,]", "list [n1:1s1:a0]"},
      {"{'b': 1, 'a': [true]}", "map {k1:a[t]k1:bn1:1}"},
      {"1 // a comment\n + 1", Number("int", "2")},
  };
  for (const auto& [source, value] : kCases) EXPECT_EQ(Outcome(source), value) << source;
}

TEST(CelTest, CalculatesExactly) {
  const struct {
    std::string_view source;
    std::string value;
  } kCases[] = {
      {"1 + 2 * 3 - 4 / 2 % 3", Number("int", "5")},
      {"-7 / 2", Number("int", "-3")},
      {"-7 % 2", Number("int", "-1")},
      {"7 / 2.0", Number("decimal", "3.5")},
      {"0.1 + 0.2", Number("decimal", "0.3")},
      {"decimal('12.0') / 5", Number("decimal", "2.4")},
      {"decimal(customer.balance) * 100", Number("decimal", "1250")},
      {"customer.big + 1", Number("decimal", "123456789012345678901234567891")},
      {"divide(10, 3, 2)", Number("decimal", "3.33")},
      {"-customer.price", Number("decimal", "-10.5")},
      {"- -3", Number("int", "3")},
      {"round(2.345, 2)", Number("decimal", "2.35")},
      {"round(1250, -2)", Number("int", "1300")},
      {"abs(-3) + abs(-0.5)", Number("decimal", "3.5")},
      {"int(' 42 ') + int(9.99)", Number("int", "51")},
      {"min(3, 1, 2) + max(1.5, 1)", Number("decimal", "2.5")},
      {"[3, 1, 2].max()", Number("int", "3")},
      {"subscriptions.map(s, s.cents).sum()", Number("int", "1007")},
      {"[].sum()", Number("int", "0")},
      {"1 == 1.0 && 1 < 1.5 && 10.50 == 10.5", "bool t"},
      {"string(10.50) + string(1e3) + string(true)", "string 10.51000true"},
  };
  for (const auto& [source, value] : kCases) EXPECT_EQ(Outcome(source), value) << source;
}

TEST(CelTest, SaysWhereANumberCannotBe) {
  EXPECT_THAT(Outcome("9223372036854775807 + 1"), HasSubstr("error 1:21: the result does not fit"));
  EXPECT_THAT(Outcome("-9223372036854775808 / -1"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(Outcome("-9223372036854775808 % -1"), HasSubstr("int n1:0"));
  EXPECT_THAT(Outcome("-(-9223372036854775808)"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(Outcome("abs(-9223372036854775808)"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(Outcome("1 / 0"), HasSubstr("error 1:3: division by zero"));
  EXPECT_THAT(Outcome("1 % 0"), HasSubstr("division by zero"));
  EXPECT_THAT(Outcome("1 / 0.0"), HasSubstr("division by zero"));
  EXPECT_THAT(Outcome("divide(1, 0, 2)"), HasSubstr("division by zero"));
  EXPECT_THAT(Outcome("1 / 3.0"), HasSubstr("use divide(x, y, digits)"));
  EXPECT_THAT(Outcome("9223372036854775808"),
              HasSubstr("refused 1:1: `9223372036854775808` does not"));
  EXPECT_THAT(Outcome("int('12a')"), HasSubstr("\"12a\" is not an integer"));
  EXPECT_THAT(Outcome("decimal('$10.00')"), HasSubstr("\"$10.00\" is not a number"));
  // Of 41 bytes, of which the last is half a character.
  EXPECT_THAT(Outcome("int('" + std::string(39, 'x') + "\u00e9')"),
              HasSubstr("int: \"" + std::string(39, 'x') + "\" is not an integer"));
  EXPECT_THAT(Outcome("decimal('" + std::string(39, 'x') + "\u00e9')"),
              HasSubstr("decimal: \"" + std::string(39, 'x') + "\" is not a number"));
  EXPECT_THAT(Outcome("timestamp('" + std::string(39, 'x') + "\u00e9')"),
              HasSubstr("timestamp: \"" + std::string(39, 'x') + "\" is not a time"));
  EXPECT_THAT(Outcome("int(1e30)"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(Outcome("[1e400][0] * 1e400"), HasSubstr("too many digits"));
  EXPECT_THAT(Outcome("customer.huge"),
              HasSubstr("error 1:10: a number with more than 700 digits"));
}

TEST(CelTest, WalksPathsAndTellsAbsentFromNull) {
  const struct {
    std::string_view source;
    std::string value;
  } kCases[] = {
      {"customer.first_name", "string Zo\xC3\xAB"},
      {"customer[\"last_name\"]", "string van Dam"},
      {"customer.address.lines[1]", "string b"},
      {"customer['address'].city", "string Utrecht"},
      {"customer.phone", "null 0"},
      {"customer.no_such_key", "absent"},
      {"customer.no.such.path[3].at.all", "absent"},
      {"dyn(customer.phone).extension", "absent"},
      {"customer.address.lines[2]", "absent"},
      {"customer.address.lines[-1]", "absent"},
      {"customer.?nothing.orValue('x')", "string x"},
      {"customer.mixed", "map {k1:a[n1:1s1:20]}"},
      {"has(customer.phone)", "bool t"},
      {"has(customer.no_such_key)", "bool f"},
      {"has(customer.no.such)", "bool f"},
      {"customer.phone == null && customer.no_such_key == null", "bool t"},
      {"default(customer.phone, 'none') + default(customer.nope, '!')", "string none!"},
      {"customer.phone.default('none')", "string none"},
      {"default(customer.first_name, 1 / 0)", "string Zo\xC3\xAB"},
      {"{'a': customer.nope, 'b': customer.phone}", "map {k1:b0}"},
      {"[customer.nope]", "list [0]"},
      {"subscriptions.filter(s, s.state == 'none').first()", "absent"},
      {"[].max()", "absent"},
      {"default([].first(), 0)", Number("int", "0")},
  };
  for (const auto& [source, value] : kCases) EXPECT_EQ(Outcome(source), value) << source;
}

TEST(CelTest, WorksWithTexts) {
  const struct {
    std::string_view source;
    std::string value;
  } kCases[] = {
      {"size('Zo\xC3\xAB')", Number("int", "3")},
      {"customer.email.lowerAscii()", "string z@x.test"},
      {"upperAscii('a\xC3\xAB')", "string A\xC3\xAB"},
      {"'  a b\\t\\n'.trim()", "string a b"},
      {"'   '.trim()", "string "},
      {"'a,b,,c'.split(',')", "list [s1:as1:bs0:s1:c]"},
      {"'a,b,c'.split(',', 2)", "list [s1:as3:b,c]"},
      {"'ab'.split('')", "list [s1:as1:b]"},
      {"''.split(',')", "list [s0:]"},
      {"['a', 'b'].join('-') + [].join('x') + ['q'].join()", "string a-bq"},
      {"'aaa'.replace('a', 'bb')", "string bbbbbb"},
      {"'aaa'.replace('a', '', 2)", "string a"},
      {"'Zo\xC3\xAB van'.substring(1, 3)", "string o\xC3\xAB"},
      {"'abc'.substring(3)", "string "},
      {"'a\xC3\xAB"
       "b'.indexOf('b')",
       Number("int", "2")},
      {"'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'abc'.contains('b')", "bool t"},
      {"'inv_12'.matches(r'^inv_\\d+$')", "bool t"},
      {"'x'.matches('^' + 'y')", "bool f"},
      {"'a' < 'b' && 'B' < 'a'", "bool t"},
      {"bool('true') && !bool('0')", "bool t"},
  };
  for (const auto& [source, value] : kCases) EXPECT_EQ(Outcome(source), value) << source;
}

TEST(CelTest, WorksWithListsAndMacros) {
  const struct {
    std::string_view source;
    std::string value;
  } kCases[] = {
      {"subscriptions.filter(s, s.state == 'active').map(s, s.id)", "list [n1:1n1:3]"},
      {"subscriptions.map(s, s.state == 'active', s.product.handle)", "list [s3:pro0]"},
      {"subscriptions.exists(s, s.cents < 0)", "bool t"},
      {"subscriptions.all(s, s.cents < 0)", "bool f"},
      {"[].all(x, false)", "bool t"},
      {"subscriptions.exists_one(s, s.state == 'canceled')", "bool t"},
      {"subscriptions.existsOne(s, s.state == 'active')", "bool f"},
      {"subscriptions.map(s, s.state).sort().distinct()", "list [s6:actives8:canceled]"},
      {"[3, 1.5, 2].sort()", "list [n3:1.5n1:2n1:3]"},
      {"[1, 1.0, '1', [1], [1.0]].distinct()", "list [n1:1s1:1[n1:1]]"},
      {"[1, 2].first() + [1, 2].last()", Number("int", "3")},
      {"[[1, 2], [], 3].flatten()", "list [n1:1n1:2n1:3]"},
      {"[1, 2].reverse() + [3]", "list [n1:2n1:1n1:3]"},
      {"'active' in subscriptions.map(s, s.state)", "bool t"},
      {"'city' in customer.address", "bool t"},
      {"null in [1, null]", "bool t"},
      {"customer.address.exists(k, k == 'city')", "bool t"},
      {"{'b': 1, 'a': 2}.keys()", "list [s1:bs1:a]"},
      {"subscriptions.map(s, [1, 2].map(x, x * s.id).sum()).sum()", Number("int", "18")},
      {"[1].map(x, [2].map(x, x))", "list [[n1:2]]"},
      {"{'a': 1} == {'a': 1.0} && [1, [2]] == [1, [2]] && [1] != [2]", "bool t"},
      {"size(subscriptions) + size(customer.address) + [1].size()", Number("int", "6")},
  };
  for (const auto& [source, value] : kCases) EXPECT_EQ(Outcome(source), value) << source;
}

TEST(CelTest, WorksWithTimes) {
  const struct {
    std::string_view source;
    std::string value;
  } kCases[] = {
      {"string(timestamp(customer.created_at))", "string 2021-03-29T11:47:00Z"},
      {"timestamp(customer.created_at).formatDate('%Y-%m-%d %H:%M', '-04:00')",
       "string 2021-03-29 07:47"},
      {"timestamp(customer.created_at).getFullYear()", Number("int", "2021")},
      {"timestamp(customer.created_at).getMonth()", Number("int", "2")},
      {"timestamp(customer.created_at).getDate('+13:00')", Number("int", "30")},
      {"timestamp(customer.created_at).getDayOfMonth()", Number("int", "28")},
      {"timestamp(customer.created_at).getDayOfWeek()", Number("int", "1")},
      {"timestamp('2024-12-31').getDayOfYear()", Number("int", "365")},
      {"timestamp(0).getHours() + duration('90m').getMinutes()", Number("int", "90")},
      {"int(timestamp('1970-01-02'))", Number("int", "86400")},
      {"string(timestamp('2024-02-28') + duration('24h'))", "string 2024-02-29T00:00:00Z"},
      {"timestamp('2024-03-01') - timestamp('2024-02-28') == duration('48h')", "bool t"},
      {"timestamp('2024-03-01') > timestamp('2024-02-28T23:59:59Z')", "bool t"},
      {"string(duration('1.5s') - duration('2s'))", "string -0.5s"},
  };
  for (const auto& [source, value] : kCases) EXPECT_EQ(Outcome(source), value) << source;
}

TEST(CelTest, LogicAbsorbsAnErrorThatCannotMatter) {
  EXPECT_EQ(Outcome("false && 1 / 0 == 1"), "bool f");
  EXPECT_EQ(Outcome("1 / 0 == 1 && false"), "bool f");
  EXPECT_EQ(Outcome("1 / 0 == 1 || true"), "bool t");
  EXPECT_THAT(Outcome("1 / 0 == 1 || false"), HasSubstr("error 1:3: division by zero"));
  EXPECT_THAT(Outcome("true && 1 / 0 == 1"), HasSubstr("error 1:11: division by zero"));
  EXPECT_THAT(Outcome("customer.phone && true"), HasSubstr("refused 1:10: `&&` wants bool"));
  EXPECT_THAT(Outcome("dyn(customer.phone) && true"), HasSubstr("`&&` wants bool, this is null"));
  EXPECT_EQ(Outcome("dyn('x') && false"), "bool f");
  EXPECT_EQ(Outcome("[0, 1].exists(x, 1 / x == 1)"), "bool t");
  EXPECT_EQ(Outcome("[0, 2].all(x, 1 / x == 1)"), "bool f");
  EXPECT_THAT(Outcome("[0, 1].all(x, 1 / x == 1)"), HasSubstr("division by zero"));
  EXPECT_EQ(Outcome("customer.vip ? 'yes' : 1 / 0"), "string yes");
  EXPECT_EQ(Outcome("gone ? 1 : customer.vip ? 2 : 3"), Number("int", "2"));
}

TEST(CelTest, RefusesWithACaretBelowTheProblem) {
  const struct {
    std::string_view source;
    std::string_view refusal;
  } kCases[] = {
      {"customer.id + 'x'",
       "refused 1:13: `+` takes (number, number) or (string, string) or (list, list) or "
       "(timestamp, duration) or (duration, timestamp) or (duration, duration), not (int, string)\n"
       "  | customer.id + 'x'\n"
       "  |             ^\n"},
      {"custmer.id",
       "refused 1:1: unknown name `custmer`; did you mean `customer`?\n"
       "  | custmer.id\n"
       "  | ^\n"},
      {"'a'.lowerAsci()",
       "refused 1:5: no function `lowerAsci`; did you mean `lowerAscii`?\n"
       "  | 'a'.lowerAsci()\n"
       "  |     ^\n"},
      {"gone &&\n  (1 + 2",
       "refused 2:9: expected `)`, found the end\n"
       "  |   (1 + 2\n"
       "  |         ^\n"},
      {"'Zo\xC3\xAB' = 1",
       "refused 1:7: `=` alone; `==` compares\n"
       "  | 'Zo\xC3\xAB' = 1\n"
       "  |       ^\n"},
      {"now > timestamp(0)",
       "refused 1:1: `now` exists in rules only\n"
       "  | now > timestamp(0)\n"
       "  | ^\n"},
      {"customer.first_name.x",
       "refused 1:21: `.x` wants a map, this is string\n"
       "  | customer.first_name.x\n"
       "  |                     ^\n"},
      {"subscriptions['x']",
       "refused 1:15: the index of a list is an int, this is string\n"
       "  | subscriptions['x']\n"
       "  |               ^\n"},
      {"customer.first_name == 1",
       "refused 1:21: `==` compares string with int, which are never equal\n"
       "  | customer.first_name == 1\n"
       "  |                     ^\n"},
      {"subscriptions.filter(s, s.id)",
       "refused 1:27: the condition of `filter` wants bool, this is int\n"
       "  | subscriptions.filter(s, s.id)\n"
       "  |                           ^\n"},
      {"customer.id ? 1 : 2",
       "refused 1:10: the condition before `?` wants bool, this is int\n"
       "  | customer.id ? 1 : 2\n"
       "  |          ^\n"},
      {"'a'.matches('(')",
       "refused 1:13: not a regular expression (RE2): missing ): (\n"
       "  | 'a'.matches('(')\n"
       "  |             ^\n"},
  };
  for (const auto& [source, refusal] : kCases) EXPECT_EQ(Outcome(source), refusal) << source;
}

TEST(CelTest, ReportsAllTypeProblemsAtOnce) {
  const std::string report = Outcome("custmer.id + customer.id + 'x' - nwo");
  EXPECT_THAT(report, HasSubstr("refused 1:1: unknown name `custmer`"));
  EXPECT_THAT(report, HasSubstr("refused 1:34: unknown name `nwo`"));
}

TEST(CelTest, RefusesBrokenSyntax) {
  for (const std::string_view source : {"",
                                        "1 +",
                                        "(1",
                                        "[1, 2",
                                        "{'a' 1}",
                                        "{a: 1}",
                                        "{'a': 1, 'a': 2}",
                                        "a.",
                                        "'abc",
                                        "'a\nb'",
                                        "\"\\q\"",
                                        "'\\ud800'",
                                        "'\\u12'",
                                        "1e",
                                        "12abc",
                                        "1 2",
                                        "has(1)",
                                        "has(customer)",
                                        "has(customer[0])",
                                        "[1].map(1, 2)",
                                        "[1].map(x)",
                                        "1 & 2",
                                        "#",
                                        "b'x'",
                                        "customer..id",
                                        "size()",
                                        "size(1, 2)",
                                        "gone ? 1",
                                        "!1",
                                        "-'a'",
                                        "'a' in 'abc'",
                                        "[1].exists(x, x + 1)",
                                        "5.exists(x, true)",
                                        "default(1)",
                                        "null + 1",
                                        "substring('a')"}) {
    EXPECT_THAT(Outcome(source), HasSubstr("refused")) << source;
  }
}

TEST(CelTest, ExplainsARunTimeErrorWithACaret) {
  EXPECT_EQ(Outcome("1 +\n customer.phone.size()"),
            "error 2:17: `size` takes (string) or (list) or (map), not (null); default(x, y) gives "
            "a fallback\n"
            "  |  customer.phone.size()\n"
            "  |                 ^");
  EXPECT_THAT(Outcome("customer.nope + 'x'"), HasSubstr("not (absent, string); default(x, y)"));
  EXPECT_THAT(Outcome("customer.nope.map(x, x)"), HasSubstr("default(x, []) gives a fallback"));
  EXPECT_THAT(Outcome("dyn('a') < 1"), HasSubstr("not (string, int)"));
  EXPECT_THAT(Outcome("[1, 'a'].sort()"), HasSubstr("sort: cannot compare element 1 (string)"));
  EXPECT_THAT(Outcome("[null].sort()"), HasSubstr("sort: cannot compare"));
  EXPECT_THAT(Outcome("[1, 'a'].max()"), HasSubstr("cannot compare string with int"));
  EXPECT_THAT(Outcome("[1].join(',')"), HasSubstr("join: element 0 is int"));
  EXPECT_THAT(Outcome("dyn(['a']).sum()"), HasSubstr("sum: element 0 is string"));
  EXPECT_THAT(Outcome("'abc'.substring(2, 9)"), HasSubstr("substring: from 2 to 9"));
  EXPECT_THAT(Outcome("'abc'.replace('', 'x')"), HasSubstr("is empty"));
  EXPECT_THAT(Outcome("timestamp('yesterday')"), HasSubstr("\"yesterday\" is not a time"));
  EXPECT_THAT(Outcome("timestamp(0).getHours('Europe/Paris')"), HasSubstr("a time zone is"));
  EXPECT_THAT(Outcome("duration('x')"), HasSubstr("write it like"));
  EXPECT_THAT(Outcome("'a'.matches('(' + '(')"), HasSubstr("not a regular expression"));
}

// A message that is no UTF-8 travels in no command.
TEST(CelTest, NamesNoPartOfACharacterInAnError) {
  const std::string text = std::string(39, 'a') + "\u00eb";
  const std::string named = "\"" + std::string(39, 'a') + "\" is not";
  EXPECT_THAT(Outcome("int('" + text + "')"), HasSubstr(named));
  EXPECT_THAT(Outcome("decimal('" + text + "')"), HasSubstr(named));
  EXPECT_THAT(Outcome("timestamp('" + text + "')"), HasSubstr(named));
  const std::string whole = text.substr(1);
  EXPECT_THAT(Outcome("int('" + whole + "a')"), HasSubstr("\"" + whole + "\" is not"));
}

TEST(CelTest, EndsWhateverIsWritten) {
  const std::string ten = "[0,1,2,3,4,5,6,7,8,9]";
  const std::string nested = ten + ".map(a, " + ten + ".map(b, " + ten + ".map(c, a + b + c)))";
  EXPECT_THAT(Outcome(nested, {.cost_max = 1000}), HasSubstr("costs more than it may"));
  // Errors are absorbed, the end of the budget is not.
  EXPECT_THAT(Outcome("true || " + nested + ".size() > 1", {.cost_max = 2}), HasSubstr("bool t"));
  EXPECT_THAT(Outcome(nested + ".size() > 1 || true", {.cost_max = 1000}), HasSubstr("costs more"));
  EXPECT_THAT(Outcome(ten + ".map(a, " + ten + ".map(b, " + ten + ".map(c, [1].map(d, d))))"),
              HasSubstr("at most 3 macros"));
  EXPECT_THAT(Outcome(std::string(1000, '(') + "1" + std::string(1000, ')')),
              HasSubstr("nested too deeply"));
  EXPECT_THAT(Outcome(std::string(1000, '!') + "true"), HasSubstr("nested too deeply"));
  std::string sum = "1";
  for (int i = 0; i < 500; ++i) sum += "+1";
  EXPECT_THAT(Outcome(sum), HasSubstr("nested too deeply"));
  EXPECT_THAT(Outcome(std::string(20'000, ' ') + "1"), HasSubstr("longer than 16384 bytes"));
  std::string list = "[1";
  for (int i = 0; i < 5000; ++i) list += ",1";
  EXPECT_THAT(Outcome(list + "]"), HasSubstr("too long"));
  EXPECT_THAT(Outcome("['aaaaaaaaaaaaaaaa'].map(x, x.replace('a', x).replace('a', x))[0]",
                      {.text_bytes_max = 1000}),
              HasSubstr("the text grows too long"));
}

TEST(CelTest, DerivesTypesForTheCaller) {
  const Environment environment = TestEnvironment();
  const auto type_of = [&](std::string_view source) {
    std::vector<Problem> problems;
    const std::optional<Program> program = Compile(source, environment, problems);
    return program ? Name(program->type()) : "refused";
  };
  EXPECT_EQ(type_of("customer.id == 1"), "bool");
  EXPECT_EQ(type_of("customer.id + 1"), "int");
  EXPECT_EQ(type_of("customer.id + 1.5"), "decimal");
  EXPECT_EQ(type_of("customer.unknown"), "dyn");
  EXPECT_EQ(type_of("subscriptions.map(s, s.id).sum()"), "int");
  EXPECT_EQ(type_of("subscriptions.sum()"), "dyn");  // 0, if there are none
  EXPECT_EQ(type_of("subscriptions[0].state"), "string");
  EXPECT_EQ(type_of("gone ? 'a' : null"), "string");
  EXPECT_EQ(type_of("gone ? 'a' : 1"), "dyn");
  EXPECT_EQ(type_of("default(customer.phone, '')"), "string");
}

}  // namespace
}  // namespace tributary::cel
