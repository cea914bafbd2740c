#include "services/control/database.h"

#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "tests/unit/services/control/fixture.h"

namespace tributary::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class DatabaseTest : public ControlTest {
 protected:
  std::string FileContent() const {
    std::ostringstream text;
    text << std::ifstream(directory / "control.db", std::ios::binary).rdbuf();
    return text.str();
  }
};

TEST_F(DatabaseTest, KeepsEverythingOverARestart) {
  Apply(AcmeRequest());
  const Tenants before = database->LoadTenants().value();
  Open();

  const Tenants after = database->LoadTenants().value();

  ASSERT_EQ(after.size(), 1U);
  const StoredTenant& tenant = after.at("acme");
  EXPECT_EQ(tenant.connections.at("crm").connection.SerializeAsString(),
            before.at("acme").connections.at("crm").connection.SerializeAsString());
  EXPECT_EQ(tenant.syncs.at("main").sync.mapping(),
            before.at("acme").syncs.at("main").sync.mapping());
  EXPECT_TRUE(tenant.syncs.at("main").has_default_mapping);
  EXPECT_EQ(database->LoadCredential({"acme", "crm"}).value().value().at("token"),
            "canary-highlevel-token");
  EXPECT_EQ(database->LoadBlobs().value().size(), 3U);
}

TEST_F(DatabaseTest, NoSecretIsInTheFile) {
  Apply(AcmeRequest());

  EXPECT_THAT(FileContent(), HasSubstr("acme"));
  EXPECT_THAT(FileContent(), Not(HasSubstr("canary")));
}

// As on a full disk, where SQLite rolls back by itself.
TEST_F(DatabaseTest, AnErrorThatEndsTheTransactionLeavesNothingOfTheOrderBehind) {
  core.reset();
  database.reset();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((directory / "control.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db,
                         "CREATE TRIGGER full BEFORE INSERT ON connections BEGIN "
                         "SELECT RAISE(ROLLBACK, 'disk is full'); END",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  Open();

  const absl::Status status = core->Apply(now, "tester", AcmeRequest()).status();

  EXPECT_THAT(std::string(status.message()), HasSubstr("disk is full"));
  EXPECT_TRUE(database->LoadTenants().value().empty());
  EXPECT_TRUE(database->LoadBlobs().value().empty());
  EXPECT_EQ(database->LoadCredential({"acme", "crm"}).value(), std::nullopt);
  EXPECT_TRUE(database->LoadAudit(10).value().empty());
}

TEST_F(DatabaseTest, IsHeldByOneAtATime) {
  const absl::Status second = Database::Open(directory / "control.db", *vault).status();

  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.message()), HasSubstr("held by another process"));
}

TEST_F(DatabaseTest, RefusesAnotherMasterKey) {
  Apply(AcmeRequest());
  core.reset();
  database.reset();
  const auto other = Vault::Open(directory / "other.key").value();

  const absl::Status status = Database::Open(directory / "control.db", *other).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("master_key_file"));
}

TEST_F(DatabaseTest, RefusesADatabaseOfANewerTributary) {
  core.reset();
  database.reset();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((directory / "control.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "INSERT INTO migrations VALUES (99)", nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(db);

  EXPECT_THAT(std::string(Database::Open(directory / "control.db", *vault).status().message()),
              HasSubstr("newer Tributary"));
}

TEST_F(DatabaseTest, TheAuditTrailTellsWhoDidWhatAndShowsTampering) {
  Apply(AcmeRequest());
  ASSERT_TRUE(database->CheckAudit().ok());
  EXPECT_EQ(database->LoadAudit(10).value().back().actor, "tester");
  EXPECT_THAT(database->LoadAudit(10).value().back().what, HasSubstr("tenant acme"));
  core.reset();
  database.reset();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((directory / "control.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "UPDATE audit SET actor = 'nobody' WHERE number = 2", nullptr, nullptr,
                         nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  Open();

  const absl::Status status = database->CheckAudit();

  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("entry 2"));
}

TEST_F(DatabaseTest, ACredentialThatIsMovedToAnotherRowDoesNotOpen) {
  Apply(AcmeRequest());
  core.reset();
  database.reset();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((directory / "control.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "UPDATE credentials SET tenant = 'evil'", nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  Open();

  EXPECT_EQ(database->LoadCredential({"evil", "crm"}).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace tributary::control
