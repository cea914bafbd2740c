#include "libs/observe/metrics.h"

#include <limits>
#include <regex>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/observe/build_info.h"

namespace tributary::observe {
namespace {

using ::testing::HasSubstr;

TEST(MetricsTest, PrintsEveryKindInTheTextFormat) {
  Metrics metrics;
  metrics.AddCounter("tributary_things_total", "Things.", {{"kind", "a\"b\\c\nd"}}).Increment(3);
  metrics.AddGauge("tributary_level_ratio", "How full\nit is.").Set(0.25);
  const Histogram histogram = metrics.AddHistogram("tributary_step_seconds", "A step.", {0.5, 1});
  histogram.Observe(0.5);
  histogram.Observe(7);

  const std::string text = metrics.Exposition();

  EXPECT_THAT(text, HasSubstr("# HELP tributary_things_total Things.\n"
                              "# TYPE tributary_things_total counter\n"
                              "tributary_things_total{kind=\"a\\\"b\\\\c\\nd\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("# HELP tributary_level_ratio How full\\nit is.\n"
                              "# TYPE tributary_level_ratio gauge\n"
                              "tributary_level_ratio 0.25\n"));
  EXPECT_THAT(text, HasSubstr("tributary_step_seconds_bucket{le=\"0.5\"} 1\n"
                              "tributary_step_seconds_bucket{le=\"1\"} 1\n"
                              "tributary_step_seconds_bucket{le=\"+Inf\"} 2\n"
                              "tributary_step_seconds_sum 7.5\n"
                              "tributary_step_seconds_count 2\n"));
}

TEST(MetricsTest, EveryLineParsesAndEveryNameHasOneHead) {
  Metrics metrics;
  AddBuildInfo(metrics);
  metrics.AddGauge("tributary_nothing", "Not a number.")
      .Set(std::numeric_limits<double>::quiet_NaN());
  metrics.AddHistogram("tributary_step_seconds", "A step.", DurationBuckets(), {{"a", "b"}});

  std::istringstream lines(metrics.Exposition());
  const std::regex head(R"(# (HELP|TYPE) [a-z_:]+ .+)");
  const std::regex sample(
      R"re([a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? (NaN|[+-]Inf|[-+.0-9e]+))re");
  std::map<std::string, int> types;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(std::regex_match(line, line[0] == '#' ? head : sample)) << line;
    if (line.rfind("# TYPE ", 0) == 0) ++types[line];
  }

  EXPECT_THAT(types, ::testing::Each(::testing::Pair(::testing::_, 1)));
  EXPECT_EQ(types.count("# TYPE tributary_build_info gauge"), 1U);
}

TEST(MetricsTest, ShowsTheProcess) {
  const std::string text = Metrics().Exposition();
  const auto value = [&text](const std::string& name) {
    const std::size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  };

  EXPECT_GT(value("process_resident_memory_bytes"), 1'000'000);
  EXPECT_GE(value("process_open_fds"), 3);
  EXPECT_GT(value("process_max_fds"), 10);
  EXPECT_GE(value("process_cpu_seconds_total"), 0);
  const double age = static_cast<double>(time(nullptr)) - value("process_start_time_seconds");
  EXPECT_THAT(age, ::testing::AllOf(::testing::Ge(-2), ::testing::Lt(300)));
}

TEST(MetricsTest, TheSameAgainIsTheSameMetric) {
  Metrics metrics;
  metrics.AddCounter("tributary_things_total", "Things.", {{"a", "1"}}).Increment();
  metrics.AddCounter("tributary_things_total", "Things.", {{"a", "1"}}).Increment();

  EXPECT_THAT(metrics.Exposition(), HasSubstr("tributary_things_total{a=\"1\"} 2\n"));
}

TEST(MetricsTest, ARemovedGaugeIsNotShown) {
  Metrics metrics;
  metrics.AddGauge("tributary_pending", "Waiting.", {{"tenant", "a"}}).Set(1);
  metrics.AddGauge("tributary_pending", "Waiting.", {{"tenant", "b"}}).Set(2);

  metrics.RemoveGauge("tributary_pending", {{"tenant", "a"}});
  metrics.RemoveGauge("tributary_pending", {{"tenant", "never"}});

  EXPECT_THAT(metrics.Exposition(), ::testing::Not(HasSubstr("tenant=\"a\"")));
  EXPECT_THAT(metrics.Exposition(), HasSubstr("tributary_pending{tenant=\"b\"} 2\n"));
}

TEST(MetricsDeathTest, RefusesNamesThatBreakTheConventions) {
  Metrics metrics;
  EXPECT_DEATH(metrics.AddCounter("things_total", ""), "must begin with tributary_");
  EXPECT_DEATH(metrics.AddCounter("tributary_things", ""), "_total");
  EXPECT_DEATH(metrics.AddGauge("tributary_things_total", ""), "_total");
  EXPECT_DEATH(metrics.AddGauge("tributary_things", "", {{"le", "1"}}), "le belongs");
}

}  // namespace
}  // namespace tributary::observe
