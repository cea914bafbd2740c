#include "libs/tls/tls.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <system_error>

#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tributary::tls {
namespace {

constexpr long kDaySeconds = 24 * 3600;
constexpr long kAuthorityDays = 3650;
constexpr long kCertificateDays = 825;
constexpr long kRenewDays = 30;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using BigNumber = std::unique_ptr<BIGNUM, Deleter<BN_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;
using Store = std::unique_ptr<X509_STORE, Deleter<X509_STORE_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>>;

absl::Status OpenSslError(const std::string& doing) {
  std::array<char, 256> text = {};
  const unsigned long code = ERR_get_error();
  ERR_error_string_n(code, text.data(), text.size());
  ERR_clear_error();
  return absl::InternalError(doing + ": " + (code == 0 ? "unknown error" : text.data()));
}

std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    return std::nullopt;
  }
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

// Never there in part, and never open to others, not even for a moment.
absl::Status WriteFile(const std::string& path, const std::string& text, mode_t mode) {
  const std::string temporary = path + ".new";
  unlink(temporary.c_str());
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) {
    return absl::InternalError("creating " + temporary + ": " +
                               std::generic_category().message(errno));
  }
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t step = write(fd, text.data() + written, text.size() - written);
    if (step <= 0) {
      break;
    }
    written += static_cast<std::size_t>(step);
  }
  const bool is_good = written == text.size() && fsync(fd) == 0;
  if (close(fd) != 0 || !is_good || rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::InternalError("writing " + path + ": " + std::generic_category().message(errno));
  }
  return absl::OkStatus();
}

Key ParseKey(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
}

Certificate ParseCertificate(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

std::string ContentOf(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

std::string ToPem(const Key& key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return ContentOf(bio);
}

std::string ToPem(const Certificate& certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate.get());
  return ContentOf(bio);
}

bool AddExtension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// With the name itself.
constexpr int kOwnNames = 4;
std::string AlternativeNames(const std::string& name, const std::vector<std::string>& hosts) {
  std::string names = "DNS:" + name + ",DNS:localhost,IP:127.0.0.1,IP:::1";
  for (const std::string& host : hosts) {
    const bool is_address = host.find(':') != std::string::npos ||
                            host.find_first_not_of("0123456789.") == std::string::npos;
    names += (is_address ? ",IP:" : ",DNS:") + host;
  }
  return names;
}

// Without an issuer: a new authority that signs itself.
absl::StatusOr<Certificate> MakeCertificate(const std::string& name, const Key& key, long days,
                                            const std::string& alternative_names,
                                            const Certificate& issuer, const Key& issuer_key) {
  const bool is_authority = issuer == nullptr;
  Certificate certificate(X509_new());
  const BigNumber serial(BN_new());
  if (certificate == nullptr || serial == nullptr ||
      BN_rand(serial.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1 ||
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate.get())) == nullptr) {
    return OpenSslError("making a certificate");
  }
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  X509* issuing = is_authority ? certificate.get() : issuer.get();
  // An hour back, because clocks of machines differ.
  const bool is_built =
      X509_set_version(certificate.get(), 2) == 1 &&
      X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600) != nullptr &&
      X509_gmtime_adj(X509_getm_notAfter(certificate.get()), days * kDaySeconds) != nullptr &&
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1,
                                 0) == 1 &&
      X509_set_issuer_name(certificate.get(),
                           is_authority ? subject : X509_get_subject_name(issuing)) == 1 &&
      X509_set_pubkey(certificate.get(), key.get()) == 1 &&
      AddExtension(certificate.get(), issuing, NID_basic_constraints,
                   is_authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") &&
      AddExtension(certificate.get(), issuing, NID_key_usage,
                   is_authority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature") &&
      AddExtension(certificate.get(), issuing, NID_subject_key_identifier, "hash") &&
      AddExtension(certificate.get(), issuing, NID_authority_key_identifier, "keyid") &&
      (is_authority ||
       (AddExtension(certificate.get(), issuing, NID_ext_key_usage, "serverAuth,clientAuth") &&
        AddExtension(certificate.get(), issuing, NID_subject_alt_name, alternative_names)));
  if (!is_built || X509_sign(certificate.get(), issuer_key.get(), EVP_sha256()) == 0) {
    return OpenSslError("making a certificate for " + name);
  }
  return certificate;
}

bool EndsWithinDays(const Certificate& certificate, long days) {
  time_t when = time(nullptr) + days * kDaySeconds;
  return X509_cmp_time(X509_get0_notAfter(certificate.get()), &when) <= 0;
}

bool IsValidFor(const Certificate& certificate, const std::string& host) {
  return X509_check_host(certificate.get(), host.data(), host.size(), 0, nullptr) == 1 ||
         X509_check_ip_asc(certificate.get(), host.c_str(), 0) == 1;
}

int CountAlternativeNames(const Certificate& certificate) {
  const Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr)));
  return names == nullptr ? 0 : sk_GENERAL_NAME_num(names.get());
}

// Why the certificate is not of this authority or not valid now. Empty: it is.
std::string Distrust(const Certificate& certificate, const Certificate& authority) {
  const Store store(X509_STORE_new());
  const StoreContext context(X509_STORE_CTX_new());
  if (store == nullptr || context == nullptr ||
      X509_STORE_add_cert(store.get(), authority.get()) != 1 ||
      X509_STORE_CTX_init(context.get(), store.get(), certificate.get(), nullptr) != 1) {
    return "cannot be checked";
  }
  if (X509_verify_cert(context.get()) == 1) {
    return "";
  }
  return X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
}

bool IsSafe(const std::string& text, bool is_host) {
  return !text.empty() && text.size() <= 253 &&
         text.find_first_not_of(is_host
                                    ? "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789.:-"
                                    : "abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
}

struct Authority {
  Certificate certificate;
  Key key;
};

absl::StatusOr<Authority> EnsureAuthority(const std::string& directory) {
  const std::string certificate_file = directory + "/ca.pem";
  const std::string key_file = directory + "/ca.key";
  const std::optional<std::string> certificate_pem = ReadFile(certificate_file);
  const std::optional<std::string> key_pem = ReadFile(key_file);
  Authority authority;
  if (certificate_pem && key_pem) {
    authority.certificate = ParseCertificate(*certificate_pem);
    authority.key = ParseKey(*key_pem);
    if (authority.certificate == nullptr || authority.key == nullptr ||
        X509_check_private_key(authority.certificate.get(), authority.key.get()) != 1) {
      ERR_clear_error();
      return absl::FailedPreconditionError(certificate_file + " and " + key_file +
                                           " do not belong together");
    }
    return authority;
  }
  if (certificate_pem) {
    return absl::FailedPreconditionError(
        key_file + " is missing: without it no certificate of this authority can be made");
  }
  authority.key.reset(EVP_EC_gen("P-256"));
  if (authority.key == nullptr) {
    return OpenSslError("making a key");
  }
  absl::StatusOr<Certificate> made = MakeCertificate("Tributary authority", authority.key,
                                                     kAuthorityDays, "", nullptr, authority.key);
  if (!made.ok()) {
    return made.status();
  }
  authority.certificate = *std::move(made);
  // The key first: a certificate without its key would be refused at the next start.
  absl::Status written = WriteFile(key_file, ToPem(authority.key), 0600);
  if (written.ok()) {
    written = WriteFile(certificate_file, ToPem(authority.certificate), 0644);
  }
  if (!written.ok()) {
    return written;
  }
  return authority;
}

// `hosts`: of a server. None: it is no server.
bool IsCurrent(const std::string& directory, const std::string& name,
               const std::vector<std::string>* hosts, const Authority& authority) {
  const std::optional<std::string> certificate_pem = ReadFile(directory + "/cert.pem");
  const std::optional<std::string> key_pem = ReadFile(directory + "/key.pem");
  const std::optional<std::string> authority_pem = ReadFile(directory + "/ca.pem");
  if (!certificate_pem || !key_pem || authority_pem != ToPem(authority.certificate)) {
    return false;
  }
  const Certificate certificate = ParseCertificate(*certificate_pem);
  const Key key = ParseKey(*key_pem);
  bool is_current = certificate != nullptr && key != nullptr &&
                    X509_check_private_key(certificate.get(), key.get()) == 1 &&
                    !EndsWithinDays(certificate, kRenewDays) &&
                    Distrust(certificate, authority.certificate).empty() &&
                    IsValidFor(certificate, name);
  if (hosts == nullptr) {
    is_current = is_current && CountAlternativeNames(certificate) == kOwnNames;
  } else {
    for (const std::string& host : *hosts) {
      is_current = is_current && IsValidFor(certificate, host);
    }
  }
  ERR_clear_error();
  return is_current;
}

absl::Status EnsureCertificate(const std::string& directory, const std::string& name,
                               const std::vector<std::string>* hosts, const Authority& authority) {
  const std::string own = directory + "/" + name;
  if (IsCurrent(own, name, hosts, authority)) {
    return absl::OkStatus();
  }
  std::error_code error;
  std::filesystem::create_directories(own, error);
  if (error) {
    return absl::InternalError("creating " + own + ": " + error.message());
  }
  const Key key(EVP_EC_gen("P-256"));
  if (key == nullptr) {
    return OpenSslError("making a key");
  }
  const absl::StatusOr<Certificate> certificate = MakeCertificate(
      name, key, kCertificateDays,
      AlternativeNames(name, hosts == nullptr ? std::vector<std::string>() : *hosts),
      authority.certificate, authority.key);
  if (!certificate.ok()) {
    return certificate.status();
  }
  absl::Status written = WriteFile(own + "/key.pem", ToPem(key), 0600);
  if (written.ok()) {
    written = WriteFile(own + "/cert.pem", ToPem(*certificate), 0644);
  }
  if (written.ok()) {
    written = WriteFile(own + "/ca.pem", ToPem(authority.certificate), 0644);
  }
  return written;
}

}  // namespace

absl::Status EnsureDirectory(const std::string& directory, const std::vector<std::string>& names,
                             const std::vector<std::string>& servers,
                             const std::vector<std::string>& hosts) {
  for (const std::vector<std::string>* some : {&names, &servers}) {
    for (const std::string& name : *some) {
      if (!IsSafe(name, false)) {
        return absl::InvalidArgumentError("`" + name + "` cannot be the name of a certificate");
      }
    }
  }
  for (const std::string& host : hosts) {
    if (!IsSafe(host, true)) {
      return absl::InvalidArgumentError("`" + host + "` is no host name and no address");
    }
  }
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return absl::InternalError("creating " + directory + ": " + error.message());
  }
  absl::StatusOr<Authority> authority = EnsureAuthority(directory);
  if (!authority.ok()) {
    return authority.status();
  }
  for (const std::string& name : names) {
    absl::Status made = EnsureCertificate(directory, name, nullptr, *authority);
    if (!made.ok()) {
      return made;
    }
  }
  for (const std::string& name : servers) {
    absl::Status made = EnsureCertificate(directory, name, &hosts, *authority);
    if (!made.ok()) {
      return made;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Identity> Load(const std::string& directory) {
  if (directory.empty()) {
    return absl::FailedPreconditionError(
        "control.tls_directory: must be set; `tributary tls init DIR` makes one directory for each "
        "process");
  }
  Identity identity;
  const std::array files = {std::pair("/ca.pem", &identity.ca_pem),
                            std::pair("/cert.pem", &identity.cert_pem),
                            std::pair("/key.pem", &identity.key_pem)};
  for (const auto& [name, text] : files) {
    std::optional<std::string> content = ReadFile(directory + name);
    if (!content || content->empty()) {
      return absl::NotFoundError(directory + name +
                                 " cannot be read; `tributary tls init DIR` "
                                 "makes one directory for each process");
    }
    *text = *std::move(content);
  }
  struct stat status = {};
  if (stat((directory + "/key.pem").c_str(), &status) == 0 && (status.st_mode & S_IRWXO) != 0) {
    return absl::FailedPreconditionError(directory + "/key.pem is open to everybody; run: chmod " +
                                         "o-rwx " + directory + "/key.pem");
  }
  const Certificate certificate = ParseCertificate(identity.cert_pem);
  const Certificate authority = ParseCertificate(identity.ca_pem);
  const Key key = ParseKey(identity.key_pem);
  if (certificate == nullptr || authority == nullptr || key == nullptr) {
    ERR_clear_error();
    return absl::FailedPreconditionError(directory + ": a file is not PEM");
  }
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return absl::FailedPreconditionError(directory + "/key.pem does not fit cert.pem");
  }
  if (const std::string distrust = Distrust(certificate, authority); !distrust.empty()) {
    ERR_clear_error();
    return absl::FailedPreconditionError(directory + "/cert.pem: " + distrust);
  }
  return identity;
}

bool EndsWithin(const Identity& identity, int days) {
  const Certificate certificate = ParseCertificate(identity.cert_pem);
  const Certificate authority = ParseCertificate(identity.ca_pem);
  ERR_clear_error();
  return certificate == nullptr || authority == nullptr || EndsWithinDays(certificate, days) ||
         EndsWithinDays(authority, days);
}

}  // namespace tributary::tls
