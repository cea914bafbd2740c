#include "services/control/backup.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <ostream>

#include "libs/eventlog/clock.h"
#include "libs/eventlog/embedded/copy.h"
#include "libs/json/value.h"
#include "libs/runtime/random.h"
#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/commands/new_file.h"

// A backup is a directory: `control.db`, and of a `tributary dev` on the embedded log also `log`.
// The key that unseals credentials is never in it. `control.db` is written last: without it, a
// backup was interrupted.

namespace tributary::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDatabase = "/control.db";
constexpr const char* kLog = "/log";

absl::Status CopyNew(const std::string& from, const std::string& to) {
  std::ifstream in(from, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return in.bad() || bytes.empty() ? absl::NotFoundError(from + " cannot be read")
                                   : WriteNewFile(to, bytes);
}

int FailWithFix(const Streams& streams, const absl::Status& status, const std::string& fix) {
  streams.err << "error: " << std::string(status.message()) << "\nfix: " << fix << '\n';
  return kBad;
}

int Create(const Streams& streams, const CommandTree& tree, const std::string& directory) {
  std::error_code error;
  if (fs::exists(directory, error) && !fs::is_empty(directory, error)) {
    return FailWithFix(streams, absl::FailedPreconditionError(directory + " is not empty"),
                       "give a directory that does not exist yet");
  }
  int code = kGood;
  const auto copy = Ask<v1::CopyDatabaseResponse>(
      streams, tree.connect(), code, [](ControlCalls& control) { return control.CopyDatabase(); });
  if (!copy) {
    return code;
  }
  fs::create_directories(directory, error);
  fs::permissions(directory, fs::perms::owner_all, error);
  // Only a `tributary dev` on its own log has one here.
  const std::string log = tree.place().data_directory + kLog;
  const bool has_log = tree.place().address.empty() && fs::exists(log, error);
  if (has_log) {
    if (absl::Status copied = eventlog::CopyEmbeddedLog(log, directory + kLog); !copied.ok()) {
      return FailWithFix(streams, copied, "see the disk of " + directory);
    }
  }
  if (absl::Status written = WriteNewFile(directory + kDatabase, copy->database()); !written.ok()) {
    return FailWithFix(streams, written, "see the disk of " + directory);
  }
  Print(streams, json::Write(json::Object{{"directory", directory}, {"log", has_log}}) + "\n",
        directory + ": control's database" + (has_log ? " and the log" : "") +
            "\nkeep the master key elsewhere; without it no credential in here opens\n");
  return kGood;
}

struct BackupArguments {
  std::string directory;
  std::string master_key;
  std::string into;
  std::string database;
};

// What is in a backup, after all of it was looked at.
absl::StatusOr<json::Object> Look(const BackupArguments& arguments) {
  std::unique_ptr<control::Vault> vault;
  if (!arguments.master_key.empty()) {
    if (!fs::exists(arguments.master_key)) {
      // Opening would make one.
      return absl::NotFoundError(arguments.master_key + " is not there");
    }
    absl::StatusOr<std::unique_ptr<control::Vault>> opened =
        control::Vault::Open(arguments.master_key);
    if (!opened.ok()) {
      return opened.status();
    }
    vault = *std::move(opened);
  }
  if (!fs::exists(arguments.directory + kDatabase)) {
    return absl::NotFoundError(arguments.directory +
                               " has no control.db: it is no backup, or one that was interrupted");
  }
  const absl::StatusOr<control::BackupContents> contents =
      control::CheckBackup(arguments.directory + kDatabase, vault.get());
  if (!contents.ok()) {
    return contents.status();
  }
  json::Object found = {{"tenants", contents->tenants},
                        {"credentials", contents->credentials},
                        {"unsealed", vault == nullptr ? json::Value() : contents->unsealed},
                        {"audit_entries", contents->audit_entries}};
  if (fs::exists(arguments.directory + kLog)) {
    const absl::StatusOr<eventlog::LogContents> log =
        eventlog::CheckEmbeddedLog(arguments.directory + kLog);
    if (!log.ok()) {
      return log.status();
    }
    found.emplace_back("log_records", log->records);
  }
  return found;
}

std::string TextOf(const json::Object& found) {
  std::string text;
  for (const auto& [name, value] : found) {
    text += name + ": " +
            (value.is_null() ? "not tried, without --master-key" : json::Write(value)) + "\n";
  }
  return text;
}

int Check(const Streams& streams, const BackupArguments& arguments) {
  const absl::StatusOr<json::Object> found = Look(arguments);
  if (!found.ok()) {
    return FailWithFix(streams, found.status(),
                       "take an earlier backup, or the key it was made with");
  }
  Print(streams, json::Write(*found) + "\n", TextOf(*found));
  return kGood;
}

int Restore(const Streams& streams, const BackupArguments& arguments) {
  if (arguments.into.empty() == arguments.database.empty()) {
    streams.err << "error: give --into DIR of a `tributary dev`, or --database FILE of control\n";
    return kUsage;
  }
  if (!arguments.into.empty() && arguments.master_key.empty()) {
    streams.err << "error: --into needs --master-key, the one that `tributary dev` had\n";
    return kUsage;
  }
  const absl::StatusOr<json::Object> found = Look(arguments);
  if (!found.ok()) {
    return FailWithFix(streams, found.status(),
                       "take an earlier backup, or the key it was made with");
  }
  std::error_code error;
  const std::string database =
      arguments.into.empty() ? arguments.database : arguments.into + kDatabase;
  const fs::path parent = fs::path(database).parent_path();
  const bool has_log = fs::exists(arguments.directory + kLog, error);
  // Copies of tables that were made of another log would be taken for this one's.
  if (!arguments.into.empty() && fs::exists(arguments.into, error) &&
      !fs::is_empty(arguments.into, error)) {
    return FailWithFix(
        streams, absl::FailedPreconditionError(arguments.into + " is not empty"),
        "give a directory that does not exist yet, and move it where the old one was");
  }
  if (!parent.empty()) {
    fs::create_directories(parent, error);
    if (!arguments.into.empty()) {
      fs::permissions(parent, fs::perms::owner_all, error);
    }
  }
  absl::Status done = CopyNew(arguments.directory + kDatabase, database);
  if (done.ok() && !arguments.into.empty()) {
    done = CopyNew(arguments.master_key, arguments.into + "/master.key");
  }
  if (done.ok() && !arguments.into.empty() && has_log) {
    done = eventlog::RestoreEmbeddedLog(arguments.directory + kLog, arguments.into + kLog,
                                        eventlog::SystemTime(), runtime::Random64);
  }
  if (!done.ok()) {
    return FailWithFix(streams, done, "move away what is there, or see the disk");
  }
  Print(streams, json::Write(*found) + "\n",
        TextOf(*found) + "restored to " + database + "\n" +
            (arguments.into.empty()
                 ? ""
                 : "give its syncs `paused: true` in the configuration, start it, wait until each "
                   "stream was read again (`tributary status`), then `tributary sync resume`\n"));
  return kGood;
}

}  // namespace

void AddBackup(CommandTree& tree) {
  const auto arguments = std::make_shared<BackupArguments>();
  CLI::App& group = tree.AddGroup("backup", "Control's database, and the embedded log",
                                  "backup create ./backup-1");
  CLI::App& create =
      tree.AddTo(group, "create", "Makes one, while everything runs", "backup create ./backup-1");
  create.add_option("DIR", arguments->directory, "Where to; must not exist")->required();
  tree.Does(create, [&tree, arguments](const Streams& streams) {
    return Create(streams, tree, arguments->directory);
  });
  CLI::App& check = tree.AddTo(group, "check", "Looks whether one can be started from",
                               "backup check ./backup-1 --master-key master.key");
  CLI::App& restore =
      tree.AddTo(group, "restore", "Looks at one, and puts it where nothing is yet",
                 "backup restore ./backup-1 --into ./tributary-data --master-key master.key");
  for (CLI::App* command : {&check, &restore}) {
    command->add_option("DIR", arguments->directory, "The backup")->required();
    command->add_option("--master-key", arguments->master_key, "To see that credentials open")
        ->type_name("FILE");
  }
  restore.add_option("--into", arguments->into, "Data directory of a `tributary dev` to be")
      ->type_name("DIR");
  restore.add_option("--database", arguments->database, "control.database of a control to be")
      ->type_name("FILE");
  tree.Does(check, [arguments](const Streams& streams) { return Check(streams, *arguments); });
  tree.Does(restore, [arguments](const Streams& streams) { return Restore(streams, *arguments); });
}

}  // namespace tributary::cli
