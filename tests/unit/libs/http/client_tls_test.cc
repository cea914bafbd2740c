#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "libs/http/client.h"
#include "libs/tls/tls.h"
#include "tests/unit/libs/http/raw_socket.h"

namespace tributary::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string NewDirectory() {
  std::string path = ::testing::TempDir() + "tlsXXXXXX";
  EXPECT_NE(mkdtemp(path.data()), nullptr);
  return path;
}

/// A server with a certificate of the authority in `directory` for localhost and 127.0.0.1.
class TlsServer {
 public:
  explicit TlsServer(const std::string& directory)
      : context_(SSL_CTX_new(TLS_server_method())),
        server_([this](testing::Socket& socket, int) { Serve(socket); }) {
    EXPECT_EQ(SSL_CTX_use_certificate_chain_file(context_, (directory + "/cert.pem").c_str()), 1);
    EXPECT_EQ(
        SSL_CTX_use_PrivateKey_file(context_, (directory + "/key.pem").c_str(), SSL_FILETYPE_PEM),
        1);
    SSL_CTX_set_alpn_select_cb(context_, &TlsServer::OnOffer, this);
  }
  ~TlsServer() { SSL_CTX_free(context_); }

  std::string url(const std::string& host) const {
    return "https://" + host + ":" + std::to_string(server_.port()) + "/clients";
  }
  std::string seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  /// Protocols that the client offered, as on the wire.
  std::string offered() const {
    const std::lock_guard lock(mutex_);
    return offered_;
  }
  int handshakes() const { return handshakes_; }

 private:
  static int OnOffer(SSL*, const unsigned char** out, unsigned char* out_size,
                     const unsigned char* offered, unsigned int size, void* self) {
    auto& server = *static_cast<TlsServer*>(self);
    const std::lock_guard lock(server.mutex_);
    server.offered_.assign(reinterpret_cast<const char*>(offered), size);
    // HTTP/2 is taken wherever it is offered, as real servers do.
    static constexpr unsigned char kWanted[] = "\x02h2\x08http/1.1";
    unsigned char* chosen = nullptr;
    const int found =
        SSL_select_next_proto(&chosen, out_size, kWanted, sizeof kWanted - 1, offered, size);
    *out = chosen;
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
  }

  void Serve(testing::Socket& socket) {
    ++handshakes_;
    SSL* const ssl = SSL_new(context_);
    SSL_set_fd(ssl, socket.fd());
    if (SSL_accept(ssl) == 1) {
      std::string request(4096, '\0');
      const int count = SSL_read(ssl, request.data(), static_cast<int>(request.size()));
      if (count > 0) {
        {
          const std::lock_guard lock(mutex_);
          seen_.assign(request, 0, static_cast<std::size_t>(count));
        }
        static constexpr std::string_view kAnswer =
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        SSL_write(ssl, kAnswer.data(), static_cast<int>(kAnswer.size()));
        SSL_shutdown(ssl);
      }
    }
    SSL_free(ssl);
  }

  SSL_CTX* const context_;
  mutable std::mutex mutex_;
  std::string seen_;
  std::string offered_;
  std::atomic<int> handshakes_ = 0;
  testing::ScriptedServer server_;
};

class ClientTlsTest : public ::testing::Test {
 protected:
  ClientTlsTest() {
    // OpenSSL writes to clients that have hung up.
    std::signal(SIGPIPE, SIG_IGN);
    for (const std::string& directory : {ours_, foreign_}) {
      EXPECT_TRUE(tls::EnsureDirectory(directory, {"site"}).ok());
    }
  }
  static Completion Post(const std::string& url, const std::string& ca_file) {
    Client client({.ca_file = ca_file}, [](RequestId) { return true; });
    client.Send(
        1, {.method = "POST", .url = url, .body = "{}", .timeout = seconds(5), .is_write = true});
    for (int i = 0; i < 200; ++i) {
      auto ended = client.Poll({}, milliseconds(50));
      if (!ended.empty()) return std::move(ended.front());
    }
    ADD_FAILURE() << "no completion within ten seconds";
    return {};
  }

  const std::string ours_ = NewDirectory();
  const std::string foreign_ = NewDirectory();
};

TEST_F(ClientTlsTest, TalksHttp11ToAServerThatItsAuthorityVouchesFor) {
  TlsServer server(ours_ + "/site");

  for (const char* host : {"localhost", "127.0.0.1"}) {
    const Completion completion = Post(server.url(host), ours_ + "/ca.pem");
    EXPECT_EQ(completion.delivery, Delivery::kComplete) << completion.error;
    EXPECT_EQ(completion.status, 200);
    EXPECT_EQ(completion.body, "{}");
  }
  EXPECT_THAT(server.seen(), ::testing::StartsWith("POST /clients HTTP/1.1\r\n"));
  EXPECT_EQ(server.offered(), "\x08http/1.1") << "HTTP/2 must not even be offered";
}

TEST_F(ClientTlsTest, SendsNothingToAServerOfAnotherAuthority) {
  TlsServer server(foreign_ + "/site");

  const Completion completion = Post(server.url("localhost"), ours_ + "/ca.pem");

  EXPECT_EQ(completion.delivery, Delivery::kNotSent);
  EXPECT_FALSE(completion.error.empty());
  EXPECT_FALSE(completion.refused_at_send);
  EXPECT_EQ(server.handshakes(), 1);
  EXPECT_EQ(server.seen(), "");
}

TEST_F(ClientTlsTest, SendsNothingToAServerWithTheCertificateOfAnotherHost) {
  TlsServer server(ours_ + "/site");

  const Completion completion = Post(server.url("other.localhost"), ours_ + "/ca.pem");

  EXPECT_EQ(completion.delivery, Delivery::kNotSent);
  EXPECT_FALSE(completion.error.empty());
  EXPECT_EQ(server.handshakes(), 1);
  EXPECT_EQ(server.seen(), "");
}

/// A certificate for localhost that vouches for itself, valid from so many seconds from now on to
/// so many.
std::string MakeCertificate(long from_seconds, long to_seconds) {
  const std::string directory = NewDirectory();
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), from_seconds);
  X509_gmtime_adj(X509_getm_notAfter(certificate), to_seconds);
  X509_NAME* const name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  X509_set_pubkey(certificate, key);
  for (const auto& [kind, value] : {std::pair(NID_basic_constraints, "critical,CA:TRUE"),
                                    std::pair(NID_subject_alt_name, "DNS:localhost")}) {
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  X509_sign(certificate, key, EVP_sha256());
  const auto write = [&](const std::string& file, const auto& put) {
    FILE* const out = std::fopen((directory + file).c_str(), "w");
    EXPECT_NE(out, nullptr);
    EXPECT_EQ(put(out), 1);
    std::fclose(out);
  };
  write("/cert.pem", [&](FILE* out) { return PEM_write_X509(out, certificate); });
  write("/key.pem", [&](FILE* out) {
    return PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
  X509_free(certificate);
  EVP_PKEY_free(key);
  return directory;
}

TEST_F(ClientTlsTest, SendsNothingToAServerWhoseCertificateHasEndedOrNotBegun) {
  for (const auto& [from, to, delivery] : {std::tuple(-86'400L, 86'400L, Delivery::kComplete),
                                           std::tuple(-2 * 86'400L, -86'400L, Delivery::kNotSent),
                                           std::tuple(86'400L, 2 * 86'400L, Delivery::kNotSent)}) {
    const std::string directory = MakeCertificate(from, to);
    TlsServer server(directory);

    const Completion completion = Post(server.url("localhost"), directory + "/cert.pem");

    EXPECT_EQ(completion.delivery, delivery) << from << " " << completion.error;
    EXPECT_EQ(server.seen().empty(), delivery == Delivery::kNotSent);
  }
}

TEST_F(ClientTlsTest, SendsNothingWithoutTheAuthoritiesItWasGiven) {
  TlsServer server(ours_ + "/site");

  const Completion completion = Post(server.url("localhost"), ours_ + "/nobody.pem");

  EXPECT_EQ(completion.delivery, Delivery::kNotSent);
  EXPECT_FALSE(completion.error.empty());
  EXPECT_EQ(server.seen(), "");
}

TEST_F(ClientTlsTest, GivesUpOnAHandshakeThatStalls) {
  testing::ScriptedServer server([](testing::Socket& socket, int) {
    // The client's greeting, and then nothing until it has gone.
    while (!socket.ReadSome().empty()) {
    }
  });
  Client client({.connect_timeout = milliseconds(300), .ca_file = ours_ + "/ca.pem"},
                [](RequestId) { return true; });
  client.Send(1, {.method = "POST",
                  .url = "https://localhost:" + std::to_string(server.port()) + "/",
                  .body = "{}",
                  .timeout = seconds(60),
                  .is_write = true});
  std::vector<Completion> ended;
  for (int i = 0; i < 200 && ended.empty(); ++i) ended = client.Poll({}, milliseconds(50));

  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended[0].delivery, Delivery::kNotSent);
}

TEST_F(ClientTlsTest, TrustsNoAuthorityOfItsOwnMaking) {
  TlsServer server(ours_ + "/site");

  const Completion completion = Post(server.url("localhost"), "");

  EXPECT_EQ(completion.delivery, Delivery::kNotSent) << "the system does not know our authority";
  EXPECT_EQ(server.seen(), "");
}

}  // namespace
}  // namespace tributary::http
