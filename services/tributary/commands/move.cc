#include <fstream>
#include <memory>
#include <optional>
#include <ostream>
#include <sstream>

#include <google/protobuf/util/json_util.h>

#include "libs/config/config.h"
#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/commands/new_file.h"
#include "services/tributary/output.h"

// A tenant from one installation to another. Credentials leave control only sealed under a
// passphrase.

namespace tributary::cli {
namespace {

struct MoveArguments {
  std::string tenant;
  std::string file;
  bool with_credentials = false;
  std::string passphrase_file;
  bool dry_run = false;
};

// From a file that is nobody else's. None: it was said why not.
std::optional<std::string> PassphraseOf(const Streams& streams, const MoveArguments& arguments) {
  if (arguments.passphrase_file.empty()) {
    return "";
  }
  v1::SecretReference reference;
  reference.set_key_file(arguments.passphrase_file);
  absl::StatusOr<std::string> passphrase = config::ReadSecret(reference);
  if (!passphrase.ok()) {
    streams.err << "error: " << std::string(passphrase.status().message())
                << "\nfix: put the passphrase there, readable by its owner alone (chmod 600)\n";
    return std::nullopt;
  }
  return *std::move(passphrase);
}

int Export(const Streams& streams, const Connect& connect, const MoveArguments& arguments) {
  if (arguments.with_credentials == arguments.passphrase_file.empty()) {
    streams.err << "error: --with-credentials and --passphrase-file go together\n"
                << "fix: credentials leave control only sealed under a passphrase\n";
    return kUsage;
  }
  const std::optional<std::string> passphrase = PassphraseOf(streams, arguments);
  if (!passphrase) {
    return kBad;
  }
  v1::ExportTenantRequest request;
  request.set_tenant(arguments.tenant);
  request.set_passphrase(*passphrase);
  int code = kGood;
  const auto exported = Ask<v1::ExportedTenant>(
      streams, connect, code, [&](ControlCalls& control) { return control.ExportTenant(request); });
  if (!exported) {
    return code;
  }
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  if (!google::protobuf::util::MessageToJsonString(*exported, &text, options).ok()) {
    streams.err << "error: the tenant cannot be written as JSON\nfix: report this\n";
    return kBad;
  }
  if (absl::Status written = WriteNewFile(arguments.file, text); !written.ok()) {
    streams.err << "error: " << std::string(written.message())
                << "\nfix: give a file that does not exist yet\n";
    return kBad;
  }
  Print(streams, "{}\n",
        arguments.file + ": tenant " + arguments.tenant +
            (arguments.with_credentials ? ", its credentials sealed under the passphrase\n"
                                        : ", without credentials\n"));
  return kGood;
}

int Import(const Streams& streams, const Connect& connect, const MoveArguments& arguments) {
  const std::optional<std::string> passphrase = PassphraseOf(streams, arguments);
  if (!passphrase) {
    return kBad;
  }
  std::ifstream in(arguments.file, std::ios::binary);
  std::ostringstream text;
  v1::ImportTenantRequest request;
  if (!in || !(text << in.rdbuf()) ||
      !google::protobuf::util::JsonStringToMessage(text.str(), request.mutable_tenant()).ok()) {
    streams.err << "error: " << arguments.file
                << " is not what `tributary export` writes\nfix: export the tenant again, with a "
                   "version that is not newer than this one\n";
    return kConfiguration;
  }
  request.set_passphrase(*passphrase);
  request.set_dry_run(arguments.dry_run);
  int code = kGood;
  const auto response = Ask<v1::ApplyResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.ImportTenant(request); });
  if (!response) {
    return code;
  }
  for (const std::string& problem : response->problems()) {
    streams.err << problem << '\n';
  }
  if (response->problems().empty() || streams.json) {
    Print(streams, ApplyJson(*response, arguments.dry_run),
          ApplyText(*response, arguments.dry_run));
  }
  if (response->problems().empty() && request.tenant().sealed_credentials().empty()) {
    streams.err << "Its connections wait for credentials: `tributary apply` them.\n";
  }
  return response->problems().empty() ? kGood : kConfiguration;
}

}  // namespace

void AddMove(CommandTree& tree) {
  const auto arguments = std::make_shared<MoveArguments>();
  CLI::App& out = tree.Add("export", "Writes a tenant to a file, for another installation",
                           "export acme acme.json --with-credentials --passphrase-file pass");
  out.add_option("TENANT", arguments->tenant, "Name")->required();
  out.add_option("FILE", arguments->file, "Where to; must not exist")->required();
  out.add_flag("--with-credentials", arguments->with_credentials,
               "Also its credentials, sealed under a passphrase");
  CLI::App& in = tree.Add("import", "Makes a tenant of such a file; refuses one that is there",
                          "import acme.json --passphrase-file pass");
  in.add_option("FILE", arguments->file, "What `export` wrote")->required();
  in.add_flag("--dry-run", arguments->dry_run, "Only show what would change");
  for (CLI::App* command : {&out, &in}) {
    command
        ->add_option("--passphrase-file", arguments->passphrase_file,
                     "Holds the passphrase, of 12 bytes at least")
        ->type_name("FILE");
  }
  tree.Does(out, [&tree, arguments](const Streams& streams) {
    return Export(streams, tree.connect(), *arguments);
  });
  tree.Does(in, [&tree, arguments](const Streams& streams) {
    return Import(streams, tree.connect(), *arguments);
  });
}

}  // namespace tributary::cli
