#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "services/tributary/doctor/accounts.h"
#include "services/tributary/doctor/ground.h"

// What needs a broker, an account or a broken disk is in tests/end_to_end/doctor_ground_test.py.

namespace tributary::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Severity = Finding::Severity;

auto Is(Severity severity, const std::string& word) {
  return AllOf(Field(&Finding::severity, severity), Field(&Finding::detail, HasSubstr(word)));
}

class GroundTest : public ::testing::Test {
 protected:
  GroundTest() {
    std::string name = ::testing::TempDir() + "doctor_test_XXXXXX";
    if (mkdtemp(name.data()) == nullptr) {
      std::abort();
    }
    directory_ = name;
  }
  ~GroundTest() override { std::filesystem::remove_all(directory_); }

  // Whatever the disk of this machine has left.
  static constexpr DiskLimits kAnyDisk{
      .free_bytes_error = 0, .free_bytes_warning = 0, .fsync_warning = std::chrono::hours(1)};
  std::string directory_;
};

TEST_F(GroundTest, AGoodDirectoryIsLeftAsItWas) {
  EXPECT_THAT(CheckDirectory(directory_, kAnyDisk), ElementsAre(Is(Severity::kGood, "fsync")));
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(GroundTest, OneThatDoesNotExistYetIsJudgedByItsParentAndNotMade) {
  EXPECT_THAT(CheckDirectory(directory_ + "/a/b", kAnyDisk),
              ElementsAre(Is(Severity::kGood, "free")));
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/a"));
}

TEST_F(GroundTest, AFileIsNoDirectory) {
  std::ofstream(directory_ + "/file") << "x";
  EXPECT_THAT(CheckDirectory(directory_ + "/file/data", kAnyDisk),
              ElementsAre(Is(Severity::kError, "is no directory")));
}

TEST_F(GroundTest, LittleSpaceAndASlowDiskAreSaid) {
  const std::uint64_t more_than_there_is = ~std::uint64_t{0};
  EXPECT_THAT(CheckDirectory(directory_, {.free_bytes_error = more_than_there_is,
                                          .fsync_warning = std::chrono::hours(1)}),
              ElementsAre(Is(Severity::kError, "MiB are free")));
  EXPECT_THAT(CheckDirectory(directory_, {.free_bytes_error = 0,
                                          .free_bytes_warning = more_than_there_is,
                                          .fsync_warning = Duration::zero()}),
              ElementsAre(Is(Severity::kWarning, "MiB are free"),
                          Is(Severity::kWarning, "an fsync takes")));
}

TEST_F(GroundTest, WhatOthersCanReadIsSaid) {
  ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
  EXPECT_THAT(CheckDirectory(directory_, kAnyDisk),
              ElementsAre(Is(Severity::kWarning, "everybody")));
  const std::string key = directory_ + "/master.key";
  EXPECT_THAT(CheckMasterKey(key), IsEmpty()) << "it is made at the first start";
  std::ofstream(key) << "x";
  ASSERT_EQ(chmod(key.c_str(), 0600), 0);
  EXPECT_THAT(CheckMasterKey(key), ElementsAre(Is(Severity::kGood, "alone")));
  ASSERT_EQ(chmod(key.c_str(), 0640), 0);
  EXPECT_THAT(CheckMasterKey(key), ElementsAre(Is(Severity::kError, "others may read")));
}

TEST_F(GroundTest, AMissingCertificateIsSaidWithTheCommandThatMakesIt) {
  const Findings findings = CheckTls(directory_);
  ASSERT_THAT(findings, ElementsAre(Is(Severity::kError, "cannot be read")));
  EXPECT_THAT(findings[0].fix, HasSubstr("tributary tls init"));
}

TEST_F(GroundTest, AnUnknownNameIsNotTakenForAServerThatIsDown) {
  EXPECT_THAT(CheckReachable("broker", "nobody.invalid", "9092"),
              ElementsAre(Is(Severity::kError, "is not known")));
  EXPECT_THAT(CheckReachable("broker", "127.0.0.1", "1"),
              ElementsAre(Is(Severity::kError, "Connection refused")));
}

TEST(ClockTest, IsJudgedInBothDirections) {
  const WallTime now(std::chrono::hours(24 * 20'000));
  EXPECT_EQ(JudgeClock("x", now + std::chrono::seconds(2), now).severity, Severity::kGood);
  EXPECT_THAT(JudgeClock("x", now - std::chrono::seconds(30), now),
              Is(Severity::kWarning, "30 s behind"));
  EXPECT_THAT(JudgeClock("x", now + std::chrono::hours(1), now),
              Is(Severity::kError, "3600 s ahead"));
}

TEST(CredentialEndTest, IsSaidFourteenDaysBefore) {
  const WallTime end(std::chrono::seconds(1'700'000'000));
  EXPECT_THAT(*JudgeCredentialEnd("x", end, end), Is(Severity::kError, "ended 2023-11-14"));
  EXPECT_THAT(*JudgeCredentialEnd("x", end, end - std::chrono::days(14)),
              Is(Severity::kWarning, "ends 2023-11-14"));
  EXPECT_FALSE(JudgeCredentialEnd("x", end, end - std::chrono::days(15)));
}

}  // namespace
}  // namespace tributary::cli
