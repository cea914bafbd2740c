#include "libs/http/socket_poll.h"

#include <array>
#include <chrono>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tributary::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A connection; or, of AF_UNIX, what libcurl makes to be woken by.
struct Pair {
  explicit Pair(int domain = AF_INET) {
    if (domain == AF_UNIX) {
      EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
      return;
    }
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener, any, size), 0);
    EXPECT_EQ(listen(listener, 1), 0);
    EXPECT_EQ(getsockname(listener, any, &size), 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(connect(ends[0], any, size), 0);
    ends[1] = accept(listener, nullptr, nullptr);
    close(listener);
  }
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

TEST(SocketPollTest, WhatIsNoConnectionMayBeClosedWithoutAWord) {
  SocketPoll poll;
  int number = -1;
  // The next to have its number is watched all the same, for whatever it is.
  for (const int events : {SocketPoll::kIn, SocketPoll::kIn, SocketPoll::kOut}) {
    const Pair waker(AF_UNIX);
    if (number >= 0) {
      ASSERT_EQ(waker.ours(), number);
    }
    number = waker.ours();
    poll.Watch(number, events);
    waker.Say();
    EXPECT_EQ(poll.Wait({}, seconds(5)).size(), 1u);
    poll.Watch(number, SocketPoll::kNone);
  }
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
