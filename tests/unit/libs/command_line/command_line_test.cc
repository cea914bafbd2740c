#include <memory>

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/command_line/command.h"
#include "libs/command_line/completion.h"
#include "libs/command_line/man_page.h"

// What shells make of the scripts is tried in tests/operations/manual_test.py.

namespace tributary::command_line {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class CommandLineDescriptionTest : public ::testing::Test {
 protected:
  CommandLineDescriptionTest() {
    app_.add_flag("--json", json_, "As JSON");
    CLI::App* const add = app_.add_subcommand("add", "Adds `things`.");
    add->fallthrough();
    add->add_option("-f,--file", file_, "What to add")->required()->type_name("FILE");
    add->add_option("--kind", kind_, "Of it")->check(CLI::IsMember({"red", "blue"}));
    add->add_option("--count", count_, "How many")->check(CLI::Range(1, 9))->capture_default_str();
    add->add_option("NAME", names_, "Names of them");
    add->footer("Example:\n  thing add -f x\n\nExit: 0 good, 1 not.");
    app_.add_subcommand("alone", "Takes none of the options above");
    command_ = Describe(app_);
  }

  CLI::App app_{"Keeps things.", "thing"};
  bool json_ = false;
  int count_ = 3;
  std::string file_;
  std::string kind_;
  std::vector<std::string> names_;
  Command command_;
};

TEST_F(CommandLineDescriptionTest, SaysWhatTheParserTakes) {
  EXPECT_EQ(command_.name, "thing");
  ASSERT_EQ(command_.commands.size(), 2U);
  const Command& add = command_.commands[0];
  EXPECT_TRUE(add.takes_options_above);
  EXPECT_FALSE(command_.commands[1].takes_options_above);
  EXPECT_THAT(add.examples, ElementsAre("thing add -f x"));
  EXPECT_EQ(add.exit_codes, "0 good, 1 not.");
  ASSERT_EQ(add.options.size(), 4U);  // With --help.
  EXPECT_THAT(add.options[1].names, ElementsAre("-f", "--file"));
  EXPECT_EQ(add.options[1].value, "FILE");
  EXPECT_TRUE(add.options[1].required);
  EXPECT_FALSE(add.options[1].repeats);
  EXPECT_THAT(add.options[2].choices, ElementsAre("red", "blue"));
  EXPECT_EQ(add.options[3].default_value, "3");
  ASSERT_EQ(add.arguments.size(), 1U);
  EXPECT_TRUE(add.arguments[0].repeats);
  EXPECT_EQ(command_.options.back().value, "") << "a flag has no value";
  EXPECT_EQ(Synopsis(add, "thing add"), "thing add [OPTIONS] --file FILE [NAME…]");
}

TEST_F(CommandLineDescriptionTest, AManualPageHidesNothingFromRoff) {
  const std::string page =
      ManPage(command_, {.name = "thing", .section = 1, .version = "1.2", .see_also = {"man(1)"}});

  EXPECT_THAT(page, AllOf(HasSubstr(".TH THING 1"), HasSubstr("thing \\- Keeps things\n"),
                          HasSubstr("\\fB\\-f\\fR, \\fB\\-\\-file\\fR \\fIFILE\\fR"),
                          HasSubstr("Adds \\(oqthings\\(oq."), HasSubstr("One of red, blue."),
                          HasSubstr("Default: 3."), HasSubstr(".BR man (1)")));
  EXPECT_THAT(page, Not(HasSubstr("…"))) << "only ASCII, whatever the terminal";
}

TEST_F(CommandLineDescriptionTest, ACommandThatTakesNoOptionsAboveIsOfferedNone) {
  const std::string bash = Completion(command_, Shell::kBash);
  EXPECT_THAT(bash, HasSubstr("'thing add')\n      if [[ $current == -* ]]; then known='--help "
                              "--file --kind --count --json'"));
  EXPECT_THAT(bash,
              HasSubstr("'thing alone')\n      if [[ $current == -* ]]; then known='--help'"));
}

TEST_F(CommandLineDescriptionTest, EveryShellHasAName) {
  for (const std::string& name : ShellNames()) {
    EXPECT_TRUE(ShellFrom(name));
    EXPECT_THAT(Completion(command_, *ShellFrom(name)), HasSubstr("thing add"));
  }
  EXPECT_FALSE(ShellFrom("csh"));
}

}  // namespace
}  // namespace tributary::command_line
