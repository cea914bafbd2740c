#include "libs/eventlog/log.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/eventlog/table.h"

namespace tributary::eventlog {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(TopicTest, FiveAreTablesAndThreeAreStreams) {
  std::set<std::string_view> tables;
  std::set<std::string_view> streams;
  for (const Topic topic : kAllTopics) (IsTable(topic) ? tables : streams).insert(Name(topic));

  EXPECT_THAT(tables, UnorderedElementsAre("tenants", "changes", "cursors", "commands", "records"));
  EXPECT_THAT(streams, UnorderedElementsAre("notifications", "events", "outcomes"));
}

TEST(HeadersTest, ARecordIsIdentifiedOnceByCloudEventsHeaders) {
  const RecordMeta meta = {"7", "/chargify/acme/billing", "tributary.event.v1", ""};

  EXPECT_THAT(ToHeaders(meta),
              UnorderedElementsAre(Pair("ce_specversion", "1.0"), Pair("ce_id", "7"),
                                   Pair("ce_source", "/chargify/acme/billing"),
                                   Pair("ce_type", "tributary.event.v1")));
}

TEST(HeadersTest, TheTraceContextTravelsAndComesBack) {
  const RecordMeta meta = {"7", "/loader", "tributary.receipt.v1", "00-0123-4567-01"};

  const RecordMeta back = MetaOf(ToHeaders(meta));

  EXPECT_EQ(back.id, meta.id);
  EXPECT_EQ(back.source, meta.source);
  EXPECT_EQ(back.type, meta.type);
  EXPECT_EQ(back.traceparent, meta.traceparent);
  EXPECT_EQ(FindHeader(ToHeaders(meta), "nothing"), std::nullopt);
}

TEST(HeadersTest, AnEntryOfATableHasItsTokenAndItsTraceAlone) {
  EXPECT_THAT(EntryHeaders("7.1", "00-0123-4567-01"),
              ElementsAre(Pair("traceparent", "00-0123-4567-01"), Pair("tributary-token", "7.1")));
  EXPECT_THAT(EntryHeaders("7.1"), ElementsAre(Pair("tributary-token", "7.1")));
}

}  // namespace
}  // namespace tributary::eventlog
