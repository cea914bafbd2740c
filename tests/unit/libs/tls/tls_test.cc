#include "libs/tls/tls.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

namespace tributary::tls {
namespace {

using ::testing::HasSubstr;

class TlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "tls_test_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Content(const std::string& file) const {
    std::ostringstream text;
    text << std::ifstream(directory_ + "/" + file).rdbuf();
    return text.str();
  }
  mode_t ModeOf(const std::string& file) const {
    struct stat status = {};
    EXPECT_EQ(stat((directory_ + "/" + file).c_str(), &status), 0) << file;
    return status.st_mode & 0777U;
  }

  bool IsValidFor(const std::string& file, const std::string& host) const {
    const std::string pem = Content(file);
    BIO* const bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
    X509* const certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    const bool is_valid = X509_check_host(certificate, host.data(), host.size(), 0, nullptr) == 1;
    X509_free(certificate);
    BIO_free(bio);
    return is_valid;
  }

  std::string directory_;
};

TEST_F(TlsTest, MakesADirectoryForEachProcessThatCanBeLoaded) {
  ASSERT_TRUE(EnsureDirectory(directory_, {"control", "loader"}).ok());

  for (const std::string name : {"control", "loader"}) {
    const absl::StatusOr<Identity> identity = Load(directory_ + "/" + name);
    ASSERT_TRUE(identity.ok()) << identity.status();
    EXPECT_EQ(identity->ca_pem, Content("ca.pem"));
  }
  EXPECT_NE(Content("control/cert.pem"), Content("loader/cert.pem"));
}

TEST_F(TlsTest, KeysAreReadableByTheirOwnerOnly) {
  ASSERT_TRUE(EnsureDirectory(directory_, {"loader"}).ok());

  EXPECT_EQ(ModeOf("ca.key"), 0600U);
  EXPECT_EQ(ModeOf("loader/key.pem"), 0600U);
}

TEST_F(TlsTest, WhatIsThereAndGoodStays) {
  ASSERT_TRUE(EnsureDirectory(directory_, {"loader"}).ok());
  const std::string authority = Content("ca.pem");
  const std::string certificate = Content("loader/cert.pem");

  ASSERT_TRUE(EnsureDirectory(directory_, {"loader", "control"}).ok());

  EXPECT_EQ(Content("ca.pem"), authority);
  EXPECT_EQ(Content("loader/cert.pem"), certificate);
}

TEST_F(TlsTest, ACertificateThatLacksAHostIsMadeAnew) {
  ASSERT_TRUE(EnsureDirectory(directory_, {"control"}).ok());
  const std::string certificate = Content("control/cert.pem");

  ASSERT_TRUE(
      EnsureDirectory(directory_, {}, {"control"}, {"control.tributary.svc", "10.1.2.3"}).ok());
  const std::string with_hosts = Content("control/cert.pem");
  ASSERT_TRUE(EnsureDirectory(directory_, {}, {"control"}, {"10.1.2.3"}).ok());

  EXPECT_NE(with_hosts, certificate);
  EXPECT_EQ(Content("control/cert.pem"), with_hosts);
}

TEST_F(TlsTest, HostsStandInTheCertificatesOfServersAlone) {
  ASSERT_TRUE(EnsureDirectory(directory_, {"loader"}, {"kafka"}, {"broker.example"}).ok());

  EXPECT_TRUE(IsValidFor("kafka/cert.pem", "broker.example"));
  EXPECT_TRUE(IsValidFor("kafka/cert.pem", "kafka"));
  EXPECT_TRUE(IsValidFor("loader/cert.pem", "loader"));
  EXPECT_FALSE(IsValidFor("loader/cert.pem", "broker.example"));
}

TEST_F(TlsTest, ACertificateThatIsValidForMoreThanItsOwnNamesIsMadeAnew) {
  ASSERT_TRUE(EnsureDirectory(directory_, {}, {"loader", "control"}, {"broker.example"}).ok());
  const std::string control = Content("control/cert.pem");
  ASSERT_TRUE(IsValidFor("loader/cert.pem", "broker.example"));

  ASSERT_TRUE(EnsureDirectory(directory_, {"loader"}, {"control"}).ok());

  EXPECT_FALSE(IsValidFor("loader/cert.pem", "broker.example"));
  // A server's stays.
  EXPECT_EQ(Content("control/cert.pem"), control);
}

TEST_F(TlsTest, RefusesAKeyThatIsOpenToEverybody) {
  ASSERT_TRUE(EnsureDirectory(directory_, {"loader"}).ok());
  ASSERT_EQ(chmod((directory_ + "/loader/key.pem").c_str(), 0644), 0);

  const absl::Status status = Load(directory_ + "/loader").status();

  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("chmod"));
}

TEST_F(TlsTest, RefusesTheKeyOfAnotherAndTheCertificateOfAnotherAuthority) {
  ASSERT_TRUE(EnsureDirectory(directory_ + "/a", {"loader", "control"}).ok());
  ASSERT_TRUE(EnsureDirectory(directory_ + "/b", {"loader"}).ok());

  std::filesystem::copy_file(directory_ + "/b/ca.pem", directory_ + "/a/loader/ca.pem",
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::copy_file(directory_ + "/a/loader/key.pem", directory_ + "/a/control/key.pem",
                             std::filesystem::copy_options::overwrite_existing);

  EXPECT_EQ(Load(directory_ + "/a/loader").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Load(directory_ + "/a/control").status().message()),
              HasSubstr("does not fit"));
}

TEST_F(TlsTest, SaysWhatIsMissingAndHowToMakeIt) {
  const absl::Status status = Load(directory_).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tributary tls init"));
}

TEST_F(TlsTest, AnAuthorityWithoutItsKeyIsNotReplaced) {
  ASSERT_TRUE(EnsureDirectory(directory_, {"loader"}).ok());
  const std::string authority = Content("ca.pem");
  std::filesystem::remove(directory_ + "/ca.key");

  EXPECT_EQ(EnsureDirectory(directory_, {"other"}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Content("ca.pem"), authority);
}

TEST_F(TlsTest, RefusesNamesThatWouldLeaveTheDirectoryOrTheCertificate) {
  EXPECT_EQ(EnsureDirectory(directory_, {"../x"}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(EnsureDirectory(directory_, {}, {"../x"}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(EnsureDirectory(directory_, {}, {"x"}, {"a,IP:1.2.3.4"}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tributary::tls
