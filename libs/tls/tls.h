#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Mutual TLS between our processes. A directory of an installation looks so:
//
//   DIR/ca.pem DIR/ca.key             the authority; its key is needed only to make certificates
//   DIR/<name>/ca.pem cert.pem key.pem   what one process needs, e.g. <name> = loader
//
// Keys are EC P-256 and readable by their owner only.

namespace tributary::tls {

/// What one process shows and trusts, as PEM.
struct Identity {
  std::string ca_pem;
  std::string cert_pem;
  std::string key_pem;
};

/// Makes what is missing in `directory`: the authority, and for each name a certificate that is
/// valid for the name itself, `localhost`, 127.0.0.1 and ::1; that of a server is valid for `hosts`
/// too. A certificate that is there stays, unless it ends within 30 days, lacks one of these, is of
/// another authority, or is no server's and valid for more.
///
/// Errors: kInvalidArgument for a name or host that cannot stand in a certificate; kInternal for
/// what the disk or OpenSSL says.
absl::Status EnsureDirectory(const std::string& directory, const std::vector<std::string>& names,
                             const std::vector<std::string>& servers = {},
                             const std::vector<std::string>& hosts = {});

/// Reads ca.pem, cert.pem and key.pem of one process.
///
/// Errors: kNotFound when one is missing; kFailedPrecondition when the key is open to everybody,
/// does not fit the certificate, or the certificate is not valid now or not of this authority.
absl::StatusOr<Identity> Load(const std::string& directory);

/// The certificate, or that of its authority, ends within so many days, or cannot be read.
bool EndsWithin(const Identity& identity, int days);

}  // namespace tributary::tls
