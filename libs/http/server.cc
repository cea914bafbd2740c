#include "libs/http/server.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include <boost/asio.hpp>

namespace tributary::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

/// Of the statuses that are used here; for people, and nobody reads it.
std::string_view Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 413:
      return "Payload Too Large";
    case 422:
      return "Unprocessable Entity";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Other";
  }
}

/// IMF-fixdate of now.
std::string DateHeader() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  static constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                kDays.at(static_cast<std::size_t>(utc.tm_wday)), utc.tm_mday,
                kMonths.at(static_cast<std::size_t>(utc.tm_mon)), utc.tm_year + 1900, utc.tm_hour,
                utc.tm_min, utc.tm_sec);
  return text.data();
}

bool BreaksLine(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

bool IsBodiless(int status) { return status == 204 || status == 304 || status < 200; }

/// Status line and header fields, up to and with the empty line.
std::string HeaderOf(const ServerResponse& response, bool kept) {
  std::string head =
      "HTTP/1.1 " + std::to_string(response.status) + " " + std::string(Reason(response.status));
  head += "\r\n";
  // A simulator has a clock of its own.
  if (FindHeader(response.headers, "Date") == nullptr) head += "Date: " + DateHeader() + "\r\n";
  for (const auto& [name, value] : response.headers) {
    if (!BreaksLine(name) && !BreaksLine(value)) head += name + ": " + value + "\r\n";
  }
  if (!IsBodiless(response.status)) {
    if (!response.content_type.empty()) head += "Content-Type: " + response.content_type + "\r\n";
    if (response.fault != ServerResponse::Fault::kUnframed) {
      head += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
    }
  }
  return head + (kept ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n");
}

/// Between a handler's answer, which may come late and from anywhere, and the end of the server.
struct Gate {
  std::mutex mutex;
  bool open = true;
};

}  // namespace

struct Server::State {
  class Connection;
  /// In the order in which they began to keep the server waiting.
  using Waiting = std::list<std::weak_ptr<Connection>>;

  State(ServerOptions options_in, AsyncHandler handler_in)
      : options(std::move(options_in)),
        handler(std::move(handler_in)),
        counters(options.counters != nullptr ? options.counters
                                             : std::make_shared<ServerCounters>()),
        io(std::make_unique<asio::io_context>(std::max(1, options.threads))) {}

  void Accept();
  bool MakeRoom();

  const ServerOptions options;
  const AsyncHandler handler;
  const std::shared_ptr<ServerCounters> counters;
  const std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  /// Those that give way are not counted any more.
  std::atomic<int> connections = 0;
  std::mutex waiting_mutex;
  Waiting waiting_for_first;
  Waiting waiting_for_next;
  std::uint16_t port = 0;
  std::unique_ptr<asio::io_context> io;
  std::optional<tcp::acceptor> acceptor;
  std::vector<std::thread> threads;
};

/// One client. All of it runs on the strand of its socket. Exactly one of these goes on at a time:
/// reading a request, waiting for its handler, writing its answer.
class Server::State::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, State& server)
      : socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        server_(server),
        reader_({.header_bytes_max = server.options.header_bytes_max,
                 .headers_max = server.options.headers_max,
                 .body_bytes_max = server.options.body_bytes_max}),
        born_(std::chrono::steady_clock::now()) {
    ++server_.connections;
    ++server_.counters->connections_open;
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    EndWaiting();
    ForgetAnswer();
    if (!has_given_way_) --server_.connections;
    --server_.counters->connections_open;
  }

  void Start() {
    ErrorCode ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    ReadRequest();
  }

  void Close(bool reset = false) {
    ErrorCode ignored;
    EndWaiting();
    timer_.cancel(ignored);
    if (reset) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
    if (!reset) socket_.shutdown(tcp::socket::shutdown_both, ignored);
    socket_.close(ignored);
  }

  /// Called with the server's `waiting_mutex` held, and taken off its list there. Closed soon.
  void GiveWay() {
    is_waiting_ = false;
    has_given_way_ = true;
    --server_.connections;
    asio::post(socket_.get_executor(), [self = shared_from_this()] { self->Close(); });
  }

 private:
  /// Closes the connection unless disarmed or armed again in time.
  void Arm(Duration after, bool is_too_slow = true) {
    timer_.expires_after(after);
    timer_.async_wait([self = shared_from_this(), is_too_slow](ErrorCode error) {
      if (error) return;
      if (is_too_slow) ++self->server_.counters->connections_timed_out;
      self->Close();
    });
  }
  void Disarm() {
    ErrorCode ignored;
    timer_.cancel(ignored);
  }

  /// From here on the connection may give way.
  void BeginWaiting() {
    const std::lock_guard lock(server_.waiting_mutex);
    if (is_waiting_ || has_given_way_) return;
    waiting_in_ = requests_ == 0 ? &server_.waiting_for_first : &server_.waiting_for_next;
    waiting_at_ = waiting_in_->insert(waiting_in_->end(), weak_from_this());
    is_waiting_ = true;
  }
  void EndWaiting() {
    const std::lock_guard lock(server_.waiting_mutex);
    if (!is_waiting_) return;
    waiting_in_->erase(waiting_at_);
    is_waiting_ = false;
  }

  void ReadRequest() {
    BeginWaiting();
    // Of a connection that is kept: first wait for a byte, then for the header.
    if (requests_ > 0 && in_.empty()) {
      Arm(server_.options.idle_timeout, /*is_too_slow=*/false);
      socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](ErrorCode error) {
        if (error) return;
        self->Arm(self->server_.options.header_timeout);
        self->ReadMore();
      });
      return;
    }
    Arm(server_.options.header_timeout);
    // A client that pipelines has sent it already.
    Advance();
  }

  void ReadMore() {
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = shared_from_this()](ErrorCode error, std::size_t bytes) {
                              if (error) return self->Close();
                              self->in_.append(self->chunk_.data(), bytes);
                              self->Advance();
                            });
  }

  void Advance() {
    const bool had_header = reader_.is_header_read();
    const RequestReader::Step step = reader_.Read(in_);
    if (!had_header && reader_.is_header_read()) Arm(server_.options.request_timeout);
    switch (step) {
      case RequestReader::Step::kMore:
        return ReadMore();
      case RequestReader::Step::kContinue:
        asio::async_write(socket_, asio::buffer(kContinue),
                          [self = shared_from_this()](ErrorCode failed, std::size_t) {
                            failed ? self->Close() : self->Advance();
                          });
        return;
      case RequestReader::Step::kWhole:
        return Handle();
      case RequestReader::Step::kRefused:
        return Refuse();
    }
  }

  void Handle() {
    Disarm();
    EndWaiting();
    ++requests_;
    ++server_.counters->requests;
    keep_alive_ = reader_.keep_alive();
    is_head_ = reader_.is_head();

    // Only this timer keeps the connection while its handler works.
    timer_.expires_at(std::chrono::steady_clock::time_point::max());
    timer_.async_wait([self = shared_from_this()](ErrorCode) {});
    server_.handler(reader_.Take(), [gate = server_.gate, weak = weak_from_this(),
                                     answered = std::make_shared<std::atomic<bool>>(false)](
                                        ServerResponse response) {
      if (answered->exchange(true)) return;
      const std::lock_guard lock(gate->mutex);
      if (!gate->open) return;
      const auto self = weak.lock();
      if (self == nullptr) return;
      asio::post(self->socket_.get_executor(), [self, response = std::move(response)]() mutable {
        self->Answer(std::move(response));
      });
    });
  }

  void Answer(ServerResponse response) {
    if (response.delay > Duration::zero()) {
      timer_.expires_after(std::exchange(response.delay, {}));
      timer_.async_wait(
          [self = shared_from_this(), response = std::move(response)](ErrorCode error) mutable {
            if (!error) self->Answer(std::move(response));
          });
      return;
    }
    Disarm();
    switch (response.fault) {
      case ServerResponse::Fault::kReset:
        return Close(/*reset=*/true);
      case ServerResponse::Fault::kClose:
        return Close();
      case ServerResponse::Fault::kHang:
        return DiscardInput();
      default:
        return Write(response);
    }
  }

  /// Answers a request that the handler never sees, and closes.
  void Refuse() {
    EndWaiting();
    ++server_.counters->requests_refused;
    keep_alive_ = false;
    is_head_ = false;
    Write({.status = reader_.refused_status(), .body = std::string(reader_.refused_why()) + "\n"});
  }

  void Write(const ServerResponse& response) {
    using Fault = ServerResponse::Fault;
    const std::size_t room = server_.options.unsent_bytes_max;
    if (response.body.size() > room ||
        static_cast<std::size_t>(server_.counters->unsent_bytes) > room - response.body.size()) {
      ++server_.counters->requests_refused;
      keep_alive_ = false;
      if (!response.body.empty()) return Write({.status = 503, .content_type = ""});
    }
    const bool kept = response.fault == Fault::kNone && keep_alive_ &&
                      requests_ < server_.options.requests_per_connection_max &&
                      std::chrono::steady_clock::now() - born_ < server_.options.connection_age_max;
    out_ = HeaderOf(response, kept);
    if (!IsBodiless(response.status) && !is_head_) {
      out_.append(
          response.body, 0,
          response.fault == Fault::kTruncate ? response.body.size() / 2 : response.body.size());
    }
    server_.counters->unsent_bytes += static_cast<std::int64_t>(out_.size());
    Arm(server_.options.request_timeout);
    asio::async_write(socket_, asio::buffer(out_),
                      [self = shared_from_this(), kept](ErrorCode error, std::size_t) {
                        self->ForgetAnswer();
                        if (error) return self->Close();
                        kept ? self->ReadRequest() : self->CloseAfterAnswer();
                      });
  }
  void ForgetAnswer() {
    server_.counters->unsent_bytes -= static_cast<std::int64_t>(out_.size());
    // Its memory too: most connections wait most of the time.
    out_ = std::string();
  }

  /// Lets the client read the answer: a close with unread input would reset the connection.
  void CloseAfterAnswer() {
    ErrorCode ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    BeginWaiting();
    Arm(std::chrono::seconds(2), /*is_too_slow=*/false);
    DiscardInput();
  }
  void DiscardInput() {
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = shared_from_this()](ErrorCode error, std::size_t) {
                              error ? self->Close() : self->DiscardInput();
                            });
  }

  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

  tcp::socket socket_;
  asio::steady_timer timer_;
  State& server_;
  RequestReader reader_;
  const std::chrono::steady_clock::time_point born_;
  /// Read and not yet taken: at most what one read brings, and a line that is not whole.
  std::string in_;
  std::array<char, 8'192> chunk_{};
  std::string out_;
  int requests_ = 0;
  bool keep_alive_ = false;
  bool is_head_ = false;
  // Guarded by the server's `waiting_mutex`.
  bool is_waiting_ = false;
  bool has_given_way_ = false;
  Waiting* waiting_in_ = nullptr;
  Waiting::iterator waiting_at_;
};

/// False: all are being served.
bool Server::State::MakeRoom() {
  // Let go of behind the lock, which its destructor takes.
  std::shared_ptr<Connection> chosen;
  const std::lock_guard lock(waiting_mutex);
  for (Waiting* const waiting : {&waiting_for_first, &waiting_for_next}) {
    for (auto it = waiting->begin(); it != waiting->end(); ++it) {
      chosen = it->lock();
      // It is being destroyed, and about to take itself off.
      if (chosen == nullptr) continue;
      waiting->erase(it);
      chosen->GiveWay();
      ++counters->connections_displaced;
      return true;
    }
  }
  return false;
}

void Server::State::Accept() {
  acceptor->async_accept(asio::make_strand(*io), [this](ErrorCode error, tcp::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) {
      // Out of descriptors, most likely: accepting again at once would spin. One that waits gives
      // its own.
      ++counters->accept_failures;
      MakeRoom();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    } else if (connections.load() < options.connections_max || MakeRoom()) {
      ++counters->connections_accepted;
      const auto executor = socket.get_executor();
      asio::dispatch(executor, [connection = std::make_shared<Connection>(
                                    std::move(socket), *this)] { connection->Start(); });
    } else {
      ++counters->connections_refused;
    }
    Accept();
  });
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

Server::~Server() { Stop(); }

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options, AsyncHandler handler) {
  const std::string where = options.host + ":" + std::to_string(options.port);
  ErrorCode error;
  const auto address = asio::ip::make_address(options.host, error);
  if (error) {
    return absl::InvalidArgumentError("listen on " + where + ": not an address of an interface");
  }
  auto state = std::make_unique<State>(std::move(options), std::move(handler));
  tcp::acceptor& acceptor = state->acceptor.emplace(asio::make_strand(*state->io));
  const tcp::endpoint endpoint(address, state->options.port);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return absl::UnavailableError("listen on " + where + ": " + error.message());
  state->port = acceptor.local_endpoint(error).port();
  state->Accept();
  for (int i = 0; i < std::max(1, state->options.threads); ++i) {
    state->threads.emplace_back([io = state->io.get()] { io->run(); });
  }
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options, SyncHandler handler) {
  return Start(std::move(options),
               AsyncHandler([handler = std::move(handler)](ServerRequest request, Respond respond) {
                 respond(handler(request));
               }));
}

std::uint16_t Server::port() const { return state_->port; }

std::string Server::url() const {
  const std::string& host = state_->options.host;
  return "http://" + (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" +
         std::to_string(state_->port);
}

void Server::Stop() {
  {
    const std::lock_guard lock(state_->gate->mutex);
    state_->gate->open = false;
  }
  if (state_->io == nullptr) return;
  state_->io->stop();
  for (std::thread& thread : state_->threads) thread.join();
  state_->threads.clear();
  state_->acceptor.reset();
  // Destroys what waits, and with it every connection.
  state_->io.reset();
}

std::optional<std::string> PercentDecode(std::string_view text) {
  const auto hex = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex(text[i + 1]);
    const int low = hex(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::optional<std::string> QueryParameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    std::string pair(query.substr(0, end));
    query.remove_prefix(std::min(end + 1, query.size()));
    std::replace(pair.begin(), pair.end(), '+', ' ');
    const std::size_t equals = pair.find('=');
    const auto key = PercentDecode(std::string_view(pair).substr(0, equals));
    if (key != name) continue;
    return equals == std::string::npos ? std::string()
                                       : PercentDecode(std::string_view(pair).substr(equals + 1));
  }
  return std::nullopt;
}

std::optional<std::pair<std::string, std::uint16_t>> ParseListen(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return std::nullopt;
  }
  return std::pair(std::string(host.empty() ? "127.0.0.1" : host), port);
}

}  // namespace tributary::http
