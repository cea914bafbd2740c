#include "services/control/status_size.h"

#include <string>

#include <gtest/gtest.h>

namespace tributary::control {
namespace {

v1::ServiceStatus StatusOf(int sites, const std::string& problem) {
  v1::ServiceStatus status;
  status.set_ready(true);
  for (int i = 0; i < sites; ++i) {
    for (const char* name : {"customers", "events"}) {
      v1::StreamStatus& stream = *status.add_streams();
      stream.set_tenant("acme");
      stream.set_connection("site" + std::to_string(i));
      stream.set_stream(name);
      stream.set_problem(i % 2 == 0 ? problem : "");
    }
  }
  return status;
}

TEST(StatusSizeTest, OneThatFitsIsLeftAsItIs) {
  const v1::ServiceStatus before = StatusOf(10, std::string(1000, 'x'));
  v1::ServiceStatus status = before;

  FitInto(before.ByteSizeLong(), status);

  EXPECT_EQ(status.SerializeAsString(), before.SerializeAsString());
}

TEST(StatusSizeTest, LongTextsAreShortenedBetweenCharacters) {
  std::string problem;
  for (int i = 0; i < 500; ++i) {
    problem += "\u00e4";
  }
  v1::ServiceStatus status = StatusOf(10, problem);

  FitInto(4000, status);

  EXPECT_LE(status.ByteSizeLong(), 4000U);
  EXPECT_EQ(status.left_out(), 0);
  EXPECT_EQ(status.streams_size(), 20);
  EXPECT_EQ(status.streams(0).problem(), problem.substr(0, 196) + "...");
}

TEST(StatusSizeTest, WhatDoesNotFitIsLeftOutAndCounted) {
  for (const std::size_t bytes_max : {0U, 100U, 1000U, 10'000U, 50'000U}) {
    v1::ServiceStatus status = StatusOf(1000, "is away");

    FitInto(bytes_max, status);

    EXPECT_LE(status.ByteSizeLong(), bytes_max + 16) << bytes_max;
    EXPECT_EQ(status.streams_size() + status.left_out(), 2000) << bytes_max;
    EXPECT_TRUE(status.ready());
    // What is in trouble is what people look for.
    if (status.streams_size() > 0) {
      EXPECT_EQ(status.streams(0).problem(), "is away") << bytes_max;
    }
  }
}

}  // namespace
}  // namespace tributary::control
