#include "libs/eventlog/overlay.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tributary::eventlog {
namespace {

std::vector<std::string> RowsFrom(const Overlay& overlay, std::string_view row) {
  std::vector<std::string> rows;
  for (auto at = overlay.LowerBound(row); at != overlay.InOrder().end(); ++at) {
    rows.push_back((*at)->first);
  }
  return rows;
}

TEST(OverlayTest, ARowIsFoundAsItWasSetLast) {
  Overlay overlay;
  overlay.Set("a", "1");
  overlay.Set("b", "2");
  overlay.Set("a", "3");
  overlay.Set("b", std::nullopt);
  ASSERT_NE(overlay.Find("a"), nullptr);
  EXPECT_EQ(*overlay.Find("a"), "3");
  ASSERT_NE(overlay.Find("b"), nullptr) << "a deletion is said too";
  EXPECT_FALSE(overlay.Find("b")->has_value());
  EXPECT_EQ(overlay.Find("c"), nullptr);
}

TEST(OverlayTest, RowsAreInTheOrderOfTheirBytesWhateverCameBetweenTwoLooks) {
  Overlay overlay;
  overlay.Set("m", "");
  overlay.Set("c", "");
  EXPECT_EQ(RowsFrom(overlay, ""), (std::vector<std::string>{"c", "m"}));
  overlay.Set("z", "");
  overlay.Set("a\xff", "");
  overlay.Set("d", "");
  overlay.Set("c", "again");
  EXPECT_EQ(RowsFrom(overlay, ""), (std::vector<std::string>{"a\xff", "c", "d", "m", "z"}));
  EXPECT_EQ(RowsFrom(overlay, "d"), (std::vector<std::string>{"d", "m", "z"}));
  EXPECT_EQ(RowsFrom(overlay, "da"), (std::vector<std::string>{"m", "z"}));
  EXPECT_TRUE(RowsFrom(overlay, "zz").empty());
}

TEST(OverlayTest, NothingIsLeftOfWhatWasCleared) {
  Overlay overlay;
  overlay.Set("a", "1");
  static_cast<void>(overlay.InOrder());
  overlay.Set("b", "2");
  overlay.Clear();
  EXPECT_EQ(overlay.Find("a"), nullptr);
  EXPECT_TRUE(overlay.InOrder().empty());
  overlay.Set("b", "3");
  EXPECT_EQ(RowsFrom(overlay, ""), std::vector<std::string>{"b"});
}

}  // namespace
}  // namespace tributary::eventlog
