#include "libs/observe/logger.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <mutex>

#include <google/protobuf/stubs/logging.h>
#include <unistd.h>

#include "libs/utf8/utf8.h"

namespace tributary::observe {
namespace {

constexpr std::array<std::string_view, 4> kLevels = {"debug", "info", "warning", "error"};

std::string Timestamp(bool date) {
  const auto now =
      std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  const auto micros = now.time_since_epoch().count();
  const std::time_t seconds = static_cast<std::time_t>(micros / 1'000'000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 64> text{};
  if (date) {
    std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
                  utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
                  utc.tm_sec, static_cast<int>(micros % 1'000'000));
  } else {
    std::snprintf(text.data(), text.size(), "%02d:%02d:%02d.%03d", utc.tm_hour, utc.tm_min,
                  utc.tm_sec, static_cast<int>(micros % 1'000'000 / 1'000));
  }
  return text.data();
}

/// JSON string contents; also safe on a terminal.
void AppendEscaped(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8::CharacterBytes(text);
    const char c = text.front();
    if (length == 0) {
      out += "\\ufffd";
      text.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      std::array<char, 8> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\u%04x", static_cast<unsigned>(c));
      out += escaped.data();
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
}

class LineLogger final : public Logger {
 public:
  LineLogger(const LogOptions& options, Metrics& metrics)
      : service_(options.service),
        level_(options.level),
        descriptor_(options.descriptor),
        human_(options.format == LogOptions::Format::kHuman ||
               (options.format == LogOptions::Format::kAuto && isatty(options.descriptor) == 1)),
        colour_(human_ && isatty(options.descriptor) == 1 && getenv("NO_COLOR") == nullptr) {
    for (std::size_t i = 0; i < kLevels.size(); ++i) {
      counters_[i] = metrics.AddCounter("tributary_log_messages_total", "Log messages.",
                                        {{"level", std::string(kLevels[i])}});
    }
  }

  void Log(Level level, std::string_view message, const Fields& fields) override {
    const auto index = static_cast<std::size_t>(level);
    counters_[index].Increment();
    if (level < level_) return;
    const std::string line =
        human_ ? HumanLine(index, message, fields) : JsonLine(index, message, fields);
    const std::lock_guard lock(mutex_);
    std::string_view rest = line;
    while (!rest.empty()) {
      const ssize_t written = write(descriptor_, rest.data(), rest.size());
      // Nobody is left to tell.
      if (written < 0) return;
      rest.remove_prefix(static_cast<std::size_t>(written));
    }
  }

 private:
  std::string JsonLine(std::size_t level, std::string_view message, const Fields& fields) const {
    std::string line = R"({"ts":")" + Timestamp(true) + R"(","level":")";
    line += kLevels[level];
    line += R"(","service":")";
    AppendEscaped(line, service_);
    line += R"(","msg":")";
    AppendEscaped(line, message);
    line += '"';
    for (const auto& [name, value] : fields) {
      line += ",\"";
      AppendEscaped(line, name);
      if (name == "ts" || name == "level" || name == "service" || name == "msg") line += '_';
      line += "\":\"";
      AppendEscaped(line, value);
      line += '"';
    }
    line += "}\n";
    return line;
  }

  std::string HumanLine(std::size_t level, std::string_view message, const Fields& fields) const {
    static constexpr std::array<std::string_view, 4> kColours = {"\x1b[2m", "", "\x1b[33m",
                                                                 "\x1b[31m"};
    const bool coloured = colour_ && !kColours[level].empty();
    std::string line = Timestamp(false) + " ";
    if (coloured) line += kColours[level];
    line += kLevels[level];
    if (coloured) line += "\x1b[0m";
    line.append(8 - kLevels[level].size(), ' ');
    line += service_ + ": ";
    AppendEscaped(line, message);
    for (const auto& [name, value] : fields) {
      line += ' ';
      line += name;
      line += '=';
      const bool quoted = value.empty() || value.find_first_of(" \"=\n") != std::string::npos;
      if (quoted) line += '"';
      AppendEscaped(line, value);
      if (quoted) line += '"';
    }
    line += '\n';
    return line;
  }

  const std::string service_;
  const Level level_;
  const int descriptor_;
  const bool human_;
  const bool colour_;
  std::array<Counter, 4> counters_;
  std::mutex mutex_;
};

}  // namespace

std::unique_ptr<Logger> MakeLogger(const LogOptions& options, Metrics& metrics) {
  // It writes a line of its own for each text that is no UTF-8. Whoever reads such a message sets
  // it aside and says so.
  google::protobuf::SetLogHandler(nullptr);
  return std::make_unique<LineLogger>(options, metrics);
}

std::optional<Logger::Level> ParseLevel(std::string_view text) {
  for (std::size_t i = 0; i < kLevels.size(); ++i) {
    if (kLevels[i] == text) return static_cast<Logger::Level>(i);
  }
  return std::nullopt;
}

std::optional<LogOptions::Format> ParseFormat(std::string_view text) {
  if (text == "auto") return LogOptions::Format::kAuto;
  if (text == "json") return LogOptions::Format::kJson;
  if (text == "human") return LogOptions::Format::kHuman;
  return std::nullopt;
}

}  // namespace tributary::observe
