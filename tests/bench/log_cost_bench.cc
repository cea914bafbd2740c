// What each record pays to the event log: microseconds of CPU (user and system, all threads of this
// process) per record that is produced, consumed, folded into a table, written and folded by an
// owner, and read back.
//
//   ./dev bench log_cost [--json] [RECORDS] [--log kafka|embedded] [--partitions N] [--dir DIR]
//
// RECORDS (default 200000) of about 600 bytes and a quarter as many keys in no order, all in one of
// the N partitions. Kafka is the broker at $TRIBUTARY_KAFKA; its own CPU is not counted.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

#include "libs/eventlog/clock.h"
#include "libs/eventlog/embedded/embedded_log.h"
#include "libs/eventlog/kafka/kafka_log.h"
#include "libs/eventlog/lmdb_stores.h"
#include "libs/eventlog/owner.h"

namespace {

using tributary::Now;
using namespace tributary::eventlog;  // NOLINT(google-build-using-namespace): a program of its own.
using std::chrono::milliseconds;
using std::chrono::seconds;

bool is_json = false;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "log_cost_bench: %s\n", what.c_str());
  std::exit(1);
}

template <typename T>
T OrDie(absl::StatusOr<T> result, std::string_view doing) {
  if (!result.ok()) Die(std::string(doing) + ": " + result.status().ToString());
  return *std::move(result);
}

void Check(const absl::Status& status, std::string_view doing) {
  if (!status.ok()) Die(std::string(doing) + ": " + status.ToString());
}

double CpuMicros() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto micros = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return micros(usage.ru_utime) + micros(usage.ru_stime);
}

void Measure(const std::string& log, const std::string& what, std::size_t records,
             const std::function<void()>& work) {
  const double cpu = CpuMicros();
  const tributary::Instant began = BootTime();
  work();
  const double each = (CpuMicros() - cpu) / static_cast<double>(records);
  const double elapsed =
      static_cast<double>((BootTime() - began).count()) / static_cast<double>(records);
  std::printf(is_json ? R"({"log":"%s","what":"%s","cpu_us":%.2f,"elapsed_us":%.2f})"
                        "\n"
                      : "%-9s %-24s %8.2f us of CPU %8.2f us elapsed\n",
              log.c_str(), what.c_str(), each, elapsed);
  std::fflush(stdout);
}

std::string KeyOf(std::size_t i, std::size_t records) {
  // Every key four times, in no order.
  const std::size_t number = (i * 7919) % (records / 4 + 1);
  return "acme/billing/subscriptions/" + std::to_string(10'000'000 + number);
}

std::string ValueOf(std::size_t i) {
  static const std::string base = [] {
    std::string value;
    for (int part = 0; part < 9; ++part) {
      value += R"({"id":)" + std::to_string(10'000'000 + part * 1'000'003) +
               R"(,"state":"active","total_in_cents":"2900"})";
    }
    return value;
  }();
  std::string value = base;
  const std::string number = std::to_string(10'000'000 + i);
  value.replace(6, number.size(), number);
  return value;
}

constexpr std::string_view kTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

Headers SomeHeaders() { return EntryHeaders("1795000000.12345", kTrace); }

/// One after the other is acknowledged: what a lane waits for, and what waking up costs.
void ProduceOneByOne(LogMember& member, std::size_t records) {
  for (std::size_t i = 0; i < records; ++i) {
    member.Produce(i + 1, Topic::kCommands, 0, KeyOf(i, records), ValueOf(i), SomeHeaders());
    for (bool is_acknowledged = false; !is_acknowledged;) {
      for (const Fact& fact : member.Poll(milliseconds(100))) {
        is_acknowledged = is_acknowledged || std::holds_alternative<Produced>(fact);
      }
    }
  }
}

void Produce(LogMember& member, std::size_t records) {
  std::size_t acknowledged = 0;
  const auto poll = [&](milliseconds wait) {
    for (const Fact& fact : member.Poll(wait)) {
      const auto* produced = std::get_if<Produced>(&fact);
      if (produced == nullptr) continue;
      if (!produced->error.empty()) Die("producing: " + produced->error);
      ++acknowledged;
    }
  };
  for (std::size_t i = 0; i < records; ++i) {
    member.Produce(i + 1, Topic::kCommands, 0, KeyOf(i, records), ValueOf(i), SomeHeaders());
    if (i % 500 == 499) {
      poll(milliseconds(0));
      while (member.produce_buffer().bytes > member.produce_buffer().bytes_max / 4) {
        poll(milliseconds(20));
      }
    }
  }
  while (acknowledged < records) poll(milliseconds(100));
}

std::vector<Record> Consume(LogMember& member, std::size_t records) {
  std::vector<Record> all;
  all.reserve(records + 10);
  member.StartReading(Topic::kCommands, 0, 0);
  std::size_t read = 0;
  while (read < records) {
    for (Fact& fact : member.Poll(milliseconds(100))) {
      if (const auto* failed = std::get_if<Failed>(&fact)) Die(failed->error);
      auto* fetched = std::get_if<Fetched>(&fact);
      if (fetched == nullptr) continue;
      for (Record& record : fetched->records) {
        if (record.key.starts_with('!')) continue;
        ++read;
        all.push_back(std::move(record));
      }
    }
  }
  member.StopReading(Topic::kCommands, 0);
  return all;
}

void Fold(const std::string& log, const std::string& directory,
          const std::vector<Record>& records) {
  const auto stores = OrDie(MakeLmdbStores(directory), "local copies");
  Table table({.topic = Topic::kCommands}, OrDie(stores->Open(Topic::kCommands, 0), "a copy"));
  Measure(log, "fold", records.size(), [&] {
    for (const Record& record : records) table.Apply(record);
    Check(table.Persist(), "persisting");
  });
  std::size_t found = 0;
  Measure(log, "get", records.size(), [&] {
    for (const Record& record : records) found += table.Get(record.key).has_value() ? 1U : 0U;
  });
  if (found != records.size()) Die("an entry is missing");
}

std::uint64_t Random64() {
  static std::mt19937_64 random(std::random_device{}());
  return random();
}

/// The smallest service: writes `records` and follows what it has written.
class Service final : public OwnerListener {
 public:
  Service(LogMember& member, LocalStores& stores) : member_(member) {
    OwnerOptions options;
    options.service = "loader";
    options.instance = "bench";
    options.writes = {Topic::kRecords};
    options.min_compaction_lag = std::chrono::hours(1);
    options.delete_retention = std::chrono::hours(24);
    owner_ = std::make_unique<Owner>(options, member, stores, Random64, *this);
  }

  void Step() {
    for (const Fact& fact : member_.Poll(milliseconds(20))) owner_->OnFact(Time(), fact);
    if (Time().steady >= owner_->next_tick()) owner_->OnTick(Time());
    if (!owner_->failure().empty()) Die(owner_->failure());
  }

  void WaitUntilReady() {
    while (!owner_->ready(0)) Step();
  }

  void WriteAndFollow(std::size_t records) {
    for (std::size_t i = 0; i < records; ++i) {
      if (owner_->Write(Topic::kRecords, 0, KeyOf(i, records), ValueOf(i), kTrace) == 0) {
        Die("a write was refused");
      }
      if (i % 500 == 499) Step();
    }
    while (written_ < records || entries_ < records) Step();
  }

  void Hear(const Fact& fact) { owner_->OnFact(Time(), fact); }

  void OnReady(const Takeover&) override {}
  void OnEntry(Topic, Partition, std::string_view, const std::optional<TableEntry>&) override {
    ++entries_;
  }
  void OnStreamRecord(const Record&) override {}
  void OnWritten(ProduceId, Offset) override { ++written_; }
  void OnGone(Partition) override {}
  void OnRevoking(Partition partition, tributary::Instant) override { owner_->Release(partition); }

 private:
  static Now Time() { return {.steady = BootTime(), .wall = SystemTime()}; }

  LogMember& member_;
  std::unique_ptr<Owner> owner_;
  std::size_t written_ = 0;
  std::size_t entries_ = 0;
};

void Run(const std::string& name, LogAdmin& admin,
         const std::function<std::unique_ptr<LogMember>()>& join, const std::string& directory,
         std::size_t records) {
  Check(admin.EnsureTopics(), "making topics");
  OrDie(Found(admin, {.now = SystemTime(), .random = Random64}), "founding");
  const std::unique_ptr<LogMember> member = join();
  // The first records wait for connections and metadata, which is none of their cost.
  for (bool assigned = false; !assigned;) {
    for (const Fact& fact : member->Poll(milliseconds(100))) {
      assigned = assigned || std::holds_alternative<Assigned>(fact);
    }
  }
  const std::size_t one_by_one = std::min<std::size_t>(records, 500);
  Measure(name, "produce one by one", one_by_one, [&] { ProduceOneByOne(*member, one_by_one); });
  Measure(name, "produce", records, [&] { Produce(*member, records); });
  std::vector<Record> all;
  Measure(name, "consume", records, [&] { all = Consume(*member, records + one_by_one); });
  Fold(name, directory + "/fold", all);
  all.clear();
  const auto stores = OrDie(MakeLmdbStores(directory + "/owner"), "local copies");
  Service service(*member, *stores);
  // The member was given its partition before there was an owner to hear of it.
  service.Hear(Assigned{.partitions = {0}});
  service.WaitUntilReady();
  Measure(name, "write, follow, fold", records, [&] { service.WriteAndFollow(records); });
  Check(member->Close(seconds(20)), "closing");
}

void RunEmbedded(const std::string& directory, std::size_t records, std::int32_t partitions) {
  EmbeddedLog::Options options;
  options.directory = directory + "/log";
  options.topics.partitions = partitions;
  const auto log = OrDie(EmbeddedLog::Open(options), "the embedded log");
  Run(
      "embedded", *log->MakeAdmin(), [&] { return OrDie(log->Join("bench", "one"), "joining"); },
      directory + "/embedded", records);
}

void RunKafka(const std::string& directory, std::size_t records, std::int32_t partitions) {
  const char* const broker = std::getenv("TRIBUTARY_KAFKA");
  if (broker == nullptr) Die("TRIBUTARY_KAFKA names no broker; `./dev kafka up` brings one");
  KafkaOptions options;
  options.bootstrap_servers = broker;
  options.topic_prefix = "log-cost-" + std::to_string(Random64()) + ".";
  options.topics.partitions = partitions;
  const auto log = OrDie(KafkaLog::Open(options), "Kafka");
  const auto admin = log->MakeAdmin();
  const auto join = [&] {
    return OrDie(log->Join(options.topic_prefix + "bench", "one",
                           {.committed = {Topic::kChanges},
                            .read = {Topic::kTenants, Topic::kCommands, Topic::kRecords},
                            .written = {Topic::kCommands, Topic::kRecords, Topic::kOutcomes}}),
                 "joining");
  };
  Run("kafka", *admin, join, directory + "/kafka", records);
  Check(admin->RemoveTopics(), "removing topics");
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t records = 200'000;
  std::int32_t partitions = TopicSettings().partitions;
  std::string only;
  std::string directory = std::filesystem::temp_directory_path();
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--json") {
      is_json = true;
    } else if (argument == "--log" && i + 1 < argc) {
      only = argv[++i];
    } else if (argument == "--partitions" && i + 1 < argc) {
      partitions = std::atoi(argv[++i]);
    } else if (argument == "--dir" && i + 1 < argc) {
      directory = argv[++i];
    } else {
      records = std::strtoull(argv[i], nullptr, 10);
      if (records < 100)
        Die("usage: [--json] [RECORDS] [--log kafka|embedded] [--partitions N] [--dir DIR]");
    }
  }
  directory += "/log-cost-" + std::to_string(getpid());
  if (only != "kafka") RunEmbedded(directory, records, partitions);
  if (only != "embedded") RunKafka(directory, records, partitions);
  std::filesystem::remove_all(directory);
  return 0;
}
