#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/services/loader/rig.h"

// What one item of a batch says of the others, and of the connection.

namespace tributary::loader {
namespace {

using std::chrono::seconds;
using testing::SizeIs;

class LoaderBatchTest : public testing::Test {
 protected:
  LoaderBatchTest() {
    (*rig_.tenant.mutable_connections(1)->mutable_settings())["batch"] = "true";
    rig_.PublishTenant();
  }
  void Clients(int count) {
    for (int i = 1; i <= count; ++i) rig_.Client(i, "n" + std::to_string(i), 1);
  }
  static bool HasClient(const http::Request& request, int customer) {
    return request.body.find(R"("client_id":")" + std::to_string(customer) + '"') !=
           std::string::npos;
  }
  static simulator::Answer AnswerOf(int status, const std::string& body) {
    simulator::Answer answer;
    answer.status = status;
    answer.body = body;
    return answer;
  }

  Rig rig_;
};

TEST_F(LoaderBatchTest, OneRecordForWhichWholeBatchesAreRefusedHoldsNobody) {
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (!request.url.ends_with("/clients/batch")) return wire;
    for (const int bad : {7, 107, 207, 307}) {
      if (HasClient(request, bad)) wire.answer = AnswerOf(422, R"({"error":"one of them is bad"})");
    }
    return wire;
  };
  Clients(400);
  rig_.Start();
  rig_.Run(seconds(60));
  EXPECT_THAT(*rig_.Clients().array(), SizeIs(400));
  EXPECT_EQ(rig_.counters().applied, 400);
}

TEST_F(LoaderBatchTest, WithTooManyThatGoAloneNothingGoesInBatches) {
  rig_.options.batched_keys_max = 150;  // a batch takes 100
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.url.ends_with("/clients/batch")) wire.answer = AnswerOf(400, R"({"error":"no"})");
    return wire;
  };
  Clients(1000);
  rig_.Start();
  rig_.Run(seconds(120));
  EXPECT_EQ(rig_.counters().applied, 1000);
  // Each key was in one of them, at most.
  EXPECT_LE(rig_.SentTo("/clients/batch").size(), 1000U / 50);
  EXPECT_EQ(rig_.SentTo("PUT /clients/").size(), 1000U);
}

TEST_F(LoaderBatchTest, AnItemThatSpeaksOfTheConnectionGoesAlone) {
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (!request.url.ends_with("/clients/batch")) return wire;
    std::string results;
    for (int i = 1; i <= 3; ++i) {
      if (!HasClient(request, i)) continue;
      if (!results.empty()) results += ',';
      results += R"({"client_id":")" + std::to_string(i) + R"(","status":)" +
                 (i == 2 ? "401" : "200") + R"(,"error":null})";
    }
    wire.answer = AnswerOf(200, R"({"results":[)" + results + "]}");
    return wire;
  };
  Clients(3);
  rig_.Start();
  rig_.Run(seconds(10));
  EXPECT_EQ(rig_.counters().applied, 3);
  EXPECT_EQ(rig_.SentTo("/clients/batch").size(), 1U);
  EXPECT_EQ(rig_.SentTo("PUT /clients/2").size(), 1U);
}

}  // namespace
}  // namespace tributary::loader
