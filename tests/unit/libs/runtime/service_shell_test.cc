#include "libs/runtime/service_shell.h"

#include <csignal>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/observe/logger.h"
#include "libs/runtime/service_flags.h"
#include "tests/unit/libs/runtime/fake_stage.h"

namespace tributary::runtime {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A whole process around a stage that needs `drain_time` to end. It writes its log into `out`.
class Process {
 public:
  explicit Process(Duration drain_time, Duration drain_max) {
    int pipe_ends[2];
    EXPECT_EQ(pipe(pipe_ends), 0);
    out_ = pipe_ends[0];
    pid_ = fork();
    if (pid_ == 0) {
      close(pipe_ends[0]);
      _exit(Main(pipe_ends[1], drain_time, drain_max));
    }
    close(pipe_ends[1]);
  }
  ~Process() {
    if (!ended_) {
      kill(pid_, SIGKILL);
      (void)Wait();
    }
    close(out_);
  }

  void Signal(int signal) const { kill(pid_, signal); }
  /// Reads the log until it has `text`, or has ended.
  bool SawLine(const std::string& text) {
    char bytes[1024];
    while (log_.find(text) == std::string::npos) {
      const ssize_t count = read(out_, bytes, sizeof bytes);
      if (count <= 0) return false;
      log_.append(bytes, static_cast<std::size_t>(count));
    }
    return true;
  }
  int Wait() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    ended_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  static int Main(int out, Duration drain_time, Duration drain_max) {
    StopSignals signals;
    observe::Metrics metrics;
    const auto logger = observe::MakeLogger(
        {.service = "loader", .format = observe::LogOptions::Format::kJson, .descriptor = out},
        metrics);
    StageRunnerOptions options;
    options.service = "loader";
    options.drain_max = drain_max;
    StageRunner runner(
        options,
        []() -> absl::StatusOr<StageParts> {
          return StageParts{.stores = eventlog::MakeMemoryStores(),
                            .log = std::make_unique<testing::SilentMember>()};
        },
        [drain_time](StagePorts) -> std::unique_ptr<Stage> {
          return std::make_unique<testing::SlowStage>(drain_time);
        },
        *logger, metrics);
    testing::SilentControl control;
    return RunService(v1::ConfigFile(), runner, control, signals, metrics, *logger);
  }

  pid_t pid_ = 0;
  int out_ = -1;
  bool ended_ = false;
  std::string log_;
};

TEST(ServiceShellTest, EndsWithZeroWhenASignalHasDrainedIt) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    Process process(milliseconds(100), seconds(20));
    ASSERT_TRUE(process.SawLine("Ready."));

    process.Signal(signal);

    EXPECT_TRUE(process.SawLine("Ended."));
    EXPECT_EQ(process.Wait(), 0);
  }
}

TEST(ServiceShellTest, EndsWithOneAndSaysWhatIsOpenWhenTheDrainMissesItsDeadline) {
  Process process(seconds(60), milliseconds(200));
  ASSERT_TRUE(process.SawLine("Ready."));

  process.Signal(SIGTERM);

  EXPECT_TRUE(process.SawLine("The drain missed its deadline"));
  EXPECT_TRUE(process.SawLine("77 bytes not acknowledged by the log"));
  EXPECT_EQ(process.Wait(), 1);
}

TEST(ServiceShellTest, ASecondSignalEndsItAtOnce) {
  Process process(seconds(60), seconds(60));
  ASSERT_TRUE(process.SawLine("Ready."));
  process.Signal(SIGTERM);
  ASSERT_TRUE(process.SawLine("Draining."));
  const auto before = std::chrono::steady_clock::now();

  process.Signal(SIGINT);

  EXPECT_EQ(process.Wait(), 128 + SIGINT);
  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(5));
}

class ServiceFlagsTest : public ::testing::Test {
 protected:
  ServiceFlagsTest() : directory_(::testing::TempDir() + "flags" + std::to_string(getpid())) {
    mkdir(directory_.c_str(), 0700);
  }
  std::string File(const std::string& text) const {
    const std::string path = directory_ + "/c.yaml";
    std::ofstream(path) << text;
    return path;
  }
  static ServiceCommand Read(std::vector<const char*> arguments, const char* name = "loader") {
    arguments.insert(arguments.begin(), name);
    return ReadServiceCommandLine(name, static_cast<int>(arguments.size()), arguments.data());
  }

  const std::string directory_;
};

TEST_F(ServiceFlagsTest, AFlagGoesBeforeTheFile) {
  const std::string file =
      File("log:\n  kind: kafka\ncontrol:\n  tls_directory: tls\nadmin:\n  listen: 127.0.0.1:1\n");

  const ServiceCommand plain = Read({"--config", file.c_str()});
  const ServiceCommand flagged = Read({"--config", file.c_str(), "--admin-listen", "127.0.0.1:2"});

  EXPECT_FALSE(plain.exit_code.has_value());
  EXPECT_EQ(plain.config.admin().listen(), "127.0.0.1:1");
  EXPECT_EQ(flagged.config.admin().listen(), "127.0.0.1:2");
  EXPECT_EQ(flagged.config.log().kind(), "kafka");
}

TEST_F(ServiceFlagsTest, ChecksWithoutRunning) {
  const std::string good = File("log:\n  kind: kafka\ncontrol:\n  tls_directory: tls\n");
  EXPECT_EQ(Read({"--config", good.c_str(), "--check"}).exit_code, 0);

  const std::string bad = File("log:\n  kind: kafka\n  partitions: 0\nloader:\n  leese: 3s\n");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Read({"--config", bad.c_str(), "--check"}).exit_code, 78);
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, ::testing::HasSubstr("partitions")) << "all problems are told at once";
  EXPECT_THAT(said, ::testing::HasSubstr("leese"));
}

TEST_F(ServiceFlagsTest, FindsBeforeTheStartWhatWouldEndItThere) {
  const std::string file = File(
      "log:\n"
      "  kind: kafka\n"
      "  kafka:\n"
      "    acks: 1\n"
      "    auto.offset.reset: latest\n"
      "    no.such.thing: x\n"
      "    sasl.password.file: /no/such/file\n"
      "admin:\n"
      "  listen: 9464\n"
      "control:\n"
      "  listen: somewhere\n");
  const auto check = [&](const char* name) {
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(Read({"--config", file.c_str(), "--check"}, name).exit_code, 78) << name;
    return ::testing::internal::GetCapturedStderr();
  };

  const std::string said = check("loader");
  using ::testing::HasSubstr;
  EXPECT_THAT(said, HasSubstr(file + ":4:11: error: log.kafka.acks: is set by Tributary itself"));
  EXPECT_THAT(said, ::testing::Not(HasSubstr("log.kafka.acks: is not"))) << "once is enough";
  EXPECT_THAT(said, HasSubstr(file + ":5:24: error: log.kafka.auto.offset.reset: is not for"));
  EXPECT_THAT(said, HasSubstr(file + ":6:20: error: log.kafka.no.such.thing: "));
  EXPECT_THAT(said, HasSubstr(file + ":7:25: error: log.kafka.sasl.password.file: cannot read"));
  EXPECT_THAT(said, HasSubstr(file + ":9:11: error: admin.listen: expected HOST:PORT"));
  EXPECT_THAT(said, HasSubstr("error: control.tls_directory: must be set; `tributary tls init DIR` "
                              "makes DIR/loader"));
  EXPECT_THAT(said, ::testing::Not(HasSubstr("control.listen")));

  EXPECT_THAT(check("control"),
              HasSubstr(file + ":11:11: error: control.listen: expected HOST:PORT"));
}

TEST_F(ServiceFlagsTest, RefusesTheEmbeddedLogSinceOtherProcessesCannotSeeIt) {
  const std::string file = File("log:\n  kind: embedded\n");
  ::testing::internal::CaptureStderr();

  EXPECT_EQ(Read({"--config", file.c_str()}).exit_code, 78);

  EXPECT_THAT(::testing::internal::GetCapturedStderr(), ::testing::HasSubstr("kafka"));
}

TEST_F(ServiceFlagsTest, WrongUsageIsTwoAndHelpIsZero) {
  EXPECT_EQ(Read({}).exit_code, 2) << "--config is needed";
  EXPECT_EQ(Read({"--confic", "x"}).exit_code, 2);
  EXPECT_EQ(Read({"--help"}).exit_code, 0);
  EXPECT_EQ(Read({"--version"}).exit_code, 0);
}

}  // namespace
}  // namespace tributary::runtime
