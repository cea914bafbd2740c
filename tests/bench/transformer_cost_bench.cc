// What the transformer's stage costs a customer, without threads, sockets and Kafka:
//
//   transformer_cost_bench [CUSTOMERS [first|coming [PARTITIONS]]]
//
// The bare customers of `whole_job --bare`, by the simulator's own site, through the mapping that
// `rest` ships: one change is read of each, one command written. They are a first read, or come as
// live changes. The other partitions, which are the transformer's as well, are empty. For counting
// instructions; what the stage alone has, and neither the simulated log nor the set-up:
//
//   valgrind --tool=callgrind '--toggle-collect=*TransformerStage::OnLog*'
//     '--toggle-collect=*TransformerStage::OnTick*' build/release/bin/transformer_cost_bench 5000

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "libs/connector/connector.h"
#include "libs/ids/keys.h"
#include "services/simulator/world.h"
#include "tests/bench/digest.h"
#include "tests/unit/services/transformer/rig.h"

namespace {

using tributary::transformer::Rig;
namespace v1 = tributary::v1;

// As the extractor writes it.
std::string ChangeOf(const std::string& id, const std::string& document, std::int64_t number,
                     bool first_read) {
  v1::ChangeEvent change;
  change.set_first_read(first_read);
  v1::Entity& entity = *change.mutable_entity();
  entity.set_connection("billing");
  entity.set_kind("customers");
  entity.set_id(id);
  entity.add_customers(id);
  entity.mutable_updated_at()->set_seconds(1'700'000'000 + number);
  entity.mutable_read_at()->set_seconds(1'760'000'000);
  entity.mutable_read()->mutable_reader()->set_generation(tributary::transformer::kGeneration);
  entity.mutable_read()->mutable_reader()->set_offset(1);
  entity.mutable_read()->set_number(number);
  const tributary::ids::Sha256Digest hash = tributary::ids::Sha256(document);
  entity.set_document_hash(std::string(hash.begin(), hash.begin() + 16));
  entity.set_document(document);
  return change.SerializeAsString();
}

}  // namespace

int main(int argc, char** argv) {
  const int customers = argc > 1 ? std::atoi(argv[1]) : 10'000;
  const int partitions = argc > 3 ? std::atoi(argv[3]) : 1;
  const bool first_read = argc < 3 || std::string(argv[2]) != "coming";
  tributary::simulator::WorldOptions world_options;
  world_options.customers = customers;
  world_options.bare_customers = true;
  world_options.start = tributary::WallTime(std::chrono::seconds(1'760'000'000));
  const tributary::simulator::World world(world_options);
  const std::map<std::string, std::string> documents = world.NewestDocuments("customers");

  Rig rig(partitions);
  rig.PutSync(*tributary::connector::BuiltinFile("rest.mapping.yaml"));
  rig.Start();
  rig.Run(std::chrono::seconds(1));
  std::int64_t number = 0;
  for (const auto& [id, document] : documents) {
    rig.PutRaw(tributary::eventlog::Topic::kChanges,
               tributary::ids::ChangeKey("acme", "billing", "customers", id),
               ChangeOf(id, document, ++number, first_read));
  }
  const std::clock_t began = std::clock();
  for (int i = 0; i < 36'000 && rig.stage().counters().state_commands < customers; ++i) {
    rig.Run(std::chrono::milliseconds(100));
  }
  rig.Run(std::chrono::seconds(1));
  const double seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  const tributary::transformer::Counters& counters = rig.stage().counters();
  std::printf(
      "{\"customers\":%d,\"commands\":%lld,\"mapping_errors\":%lld,"
      "\"digest\":\"%s\",\"cpu_us_per_customer\":%.1f}\n",
      customers, static_cast<long long>(counters.state_commands),
      static_cast<long long>(counters.mapping_errors),
      tributary::bench::DigestOf(rig.log.records(tributary::eventlog::Topic::kCommands, 0)).c_str(),
      seconds * 1e6 / customers);
  return counters.state_commands == customers && counters.mapping_errors == 0 ? 0 : 1;
}
