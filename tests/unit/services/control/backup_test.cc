#include "services/control/backup.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/services/control/fixture.h"

namespace tributary::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class BackupTest : public ControlTest {
 protected:
  BackupTest() {
    Apply(AcmeRequest());
    file = directory / "copy.db";
    Write(core->CopyDatabase(now, "tester").value().database());
  }
  void Write(const std::string& bytes) const {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
  }
  std::string Bytes() const {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

  std::string file;
};

TEST_F(BackupTest, OfARunningControlHoldsEverything) {
  const BackupContents contents = CheckBackup(file, vault.get()).value();

  EXPECT_EQ(contents.tenants, 1);
  EXPECT_EQ(contents.credentials, 2);
  EXPECT_EQ(contents.unsealed, 2);
  // The copy notes itself.
  EXPECT_EQ(database->LoadAudit(1).value().at(0).what, "database copied for a backup");
  EXPECT_EQ(contents.audit_entries,
            static_cast<std::int64_t>(database->LoadAudit(1000).value().size()));
  // It can be started from.
  const auto restored = Database::Open(file, *vault);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ((*restored)->LoadCredential({"acme", "crm"}).value().value().at("token"),
            "canary-highlevel-token");
}

TEST_F(BackupTest, HoldsNoSecretAndLookingAtItLeavesNothing) {
  EXPECT_THAT(Bytes(), Not(HasSubstr("canary")));
  const std::string before = Bytes();
  ASSERT_TRUE(CheckBackup(file, vault.get()).ok());
  EXPECT_EQ(Bytes(), before);
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(file).parent_path())) {
    EXPECT_THAT(entry.path().string(), Not(HasSubstr("looked-at")));
  }
}

TEST_F(BackupTest, OneThatIsDamagedIsNotGood) {
  std::string bytes = Bytes();
  for (std::size_t i = 4096; i < 8192; ++i) bytes[i] = '\0';
  Write(bytes);
  EXPECT_EQ(CheckBackup(file, nullptr).status().code(), absl::StatusCode::kDataLoss);
  Write(bytes.substr(0, 5000));
  EXPECT_EQ(CheckBackup(file, nullptr).status().code(), absl::StatusCode::kDataLoss);
  Write("not a database");
  EXPECT_EQ(CheckBackup(file, nullptr).status().code(), absl::StatusCode::kDataLoss);
  Write("");
  EXPECT_EQ(CheckBackup(file, nullptr).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CheckBackup(directory / "none", nullptr).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BackupTest, AnotherMasterKeyIsFoundBeforeItIsNeeded) {
  const auto other = Vault::Open(directory / "other.key").value();
  const absl::Status status = CheckBackup(file, other.get()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("master key"));
  EXPECT_TRUE(CheckBackup(file, nullptr).ok()) << "without a key only the file is looked at";
}

TEST_F(BackupTest, OneThatIsTooLargeIsSaidSo) {
  EXPECT_EQ(database->Copy(1000).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tributary::control
