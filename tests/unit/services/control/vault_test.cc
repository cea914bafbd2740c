#include "services/control/vault.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/unit/services/control/fixture.h"

namespace tributary::control {
namespace {

TEST(VaultTest, MakesItsKeyOnceAndForItsOwnerOnly) {
  const TemporaryDirectory directory;
  const std::string file = directory / "sub/master.key";

  const std::string sealed = Vault::Open(file).value()->Seal("place", "secret");

  struct stat status = {};
  ASSERT_EQ(stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_EQ(Vault::Open(file).value()->Unseal("place", sealed).value(), "secret");
}

TEST(VaultTest, AKeyThatCouldNotBeWrittenLeavesNoFileBehind) {
  const TemporaryDirectory directory;
  struct rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 10;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);

  const absl::Status status = Vault::Open(directory / "key").status();

  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(std::filesystem::is_empty(directory / ""));
  EXPECT_TRUE(Vault::Open(directory / "key").ok());
}

TEST(VaultTest, WhatIsSealedOpensOnlyAtItsPlaceUnderItsKey) {
  const TemporaryDirectory directory;
  const auto vault = Vault::Open(directory / "a").value();
  const auto other = Vault::Open(directory / "b").value();
  const std::string sealed = vault->Seal("acme/crm/token", "secret");

  EXPECT_EQ(vault->Unseal("acme/crm/token", sealed).value(), "secret");
  EXPECT_EQ(vault->Unseal("other/crm/token", sealed).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(other->Unseal("acme/crm/token", sealed).status().code(), absl::StatusCode::kDataLoss);
}

TEST(VaultTest, NoByteCanBeChanged) {
  const TemporaryDirectory directory;
  const auto vault = Vault::Open(directory / "key").value();
  const std::string sealed = vault->Seal("place", "secret");

  for (std::size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(vault->Unseal("place", changed).ok()) << "byte " << i;
    EXPECT_FALSE(vault->Unseal("place", sealed.substr(0, i)).ok()) << "cut at " << i;
  }
}

TEST(VaultTest, NoNonceComesTwice) {
  const TemporaryDirectory directory;
  const auto vault = Vault::Open(directory / "key").value();
  std::set<std::string> nonces;
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_TRUE(nonces.insert(vault->Seal("place", "secret").substr(1, 24)).second);
  }
}

TEST(VaultTest, RefusesAKeyFileThatIsOpenToEverybodyOrNoKey) {
  const TemporaryDirectory directory;
  const std::string file = directory / "key";
  ASSERT_TRUE(Vault::Open(file).ok());
  ASSERT_EQ(chmod(file.c_str(), 0644), 0);
  EXPECT_EQ(Vault::Open(file).status().code(), absl::StatusCode::kFailedPrecondition);

  for (const char* content :
       {"", "short", "not base64 !!!!", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqaw=="}) {
    std::ofstream(directory / "bad") << content;
    ASSERT_EQ(chmod((directory / "bad").c_str(), 0600), 0);
    EXPECT_EQ(Vault::Open(directory / "bad").status().code(), absl::StatusCode::kFailedPrecondition)
        << content;
  }
}

}  // namespace
}  // namespace tributary::control
