#include "libs/http/socket_poll.h"

#include <array>
#include <chrono>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tributary::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Pair {
  Pair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0); }
  ~Pair() {
    close(ends[0]);
    close(ends[1]);
  }
  void Say() const { EXPECT_EQ(write(ends[1], "x", 1), 1); }
  int ours() const { return ends[0]; }
  std::array<int, 2> ends{};
};

TEST(SocketPollTest, SaysWhichSocketIsReadyForWhat) {
  SocketPoll poll;
  const Pair a;
  const Pair b;
  poll.Watch(a.ours(), SocketPoll::kIn);
  poll.Watch(b.ours(), SocketPoll::kIn);
  EXPECT_TRUE(poll.Wait({}, milliseconds(0)).empty());
  b.Say();
  const std::vector<SocketPoll::Ready> ready = poll.Wait({}, seconds(5));
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].socket, b.ours());
  EXPECT_EQ(ready[0].events, SocketPoll::kIn);
  poll.Watch(a.ours(), SocketPoll::kIn | SocketPoll::kOut);
  EXPECT_EQ(poll.Wait({}, seconds(5)).size(), 2u);
}

TEST(SocketPollTest, AKeptConnectionThatIsClosedFromOutsideWakesOnceAtMost) {
  SocketPoll poll;
  const Pair kept;
  poll.Watch(kept.ours(), SocketPoll::kIn);
  poll.Watch(kept.ours(), SocketPoll::kNone);
  shutdown(kept.ends[1], SHUT_RDWR);
  EXPECT_TRUE(poll.Wait({}, seconds(5)).empty());
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(poll.Wait({}, milliseconds(50)).empty());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(50));
  // Asked for again, it says so.
  poll.Watch(kept.ours(), SocketPoll::kIn);
  EXPECT_EQ(poll.Wait({}, seconds(5)).size(), 1u);
}

TEST(SocketPollTest, TheNumberOfAClosedSocketMayComeAgain) {
  SocketPoll poll;
  int number = -1;
  {
    const Pair first;
    number = first.ours();
    poll.Watch(number, SocketPoll::kIn);
    poll.Watch(number, SocketPoll::kNone);
    poll.Forget(number);
  }
  const Pair second;
  ASSERT_EQ(second.ours(), number);
  poll.Watch(number, SocketPoll::kIn);
  second.Say();
  EXPECT_EQ(poll.Wait({}, seconds(5)).size(), 1u);
}

TEST(SocketPollTest, ForeignDescriptorsAndWakeEndTheWait) {
  SocketPoll poll;
  const Pair foreign;
  foreign.Say();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(poll.Wait({foreign.ours()}, seconds(30)).empty());
  poll.Wake();
  EXPECT_TRUE(poll.Wait({}, seconds(30)).empty());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(30));
}

}  // namespace
}  // namespace tributary::http
