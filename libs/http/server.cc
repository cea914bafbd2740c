#include "libs/http/server.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <thread>
#include <vector>

#include <boost/asio.hpp>
#include <boost/beast/http.hpp>

namespace tributary::http {
namespace {

namespace asio = boost::asio;
namespace beast_http = boost::beast::http;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

std::string Reason(int status) {
  return std::string(beast_http::obsolete_reason(static_cast<beast_http::status>(status)));
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

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

/// What makes two readers of one request disagree about where it ends, and is therefore refused.
/// `head` is the request line and the header fields, up to and with the empty line.
bool IsAmbiguous(std::string_view head) {
  for (std::size_t i = 0; i < head.size(); ++i) {
    if (head[i] == '\0') return true;
    if (head[i] == '\n' && (i == 0 || head[i - 1] != '\r')) return true;
    if (head[i] == '\r' && (i + 1 == head.size() || head[i + 1] != '\n')) return true;
    // A folded line.
    if (head[i] == '\n' && i + 1 < head.size() && (head[i + 1] == ' ' || head[i + 1] == '\t')) {
      return true;
    }
  }
  return false;
}

struct Framing {
  bool ok = true;
  bool chunked = false;
  std::string why;
};

template <typename Fields>
Framing CheckFraming(const Fields& request) {
  Framing framing;
  int lengths = 0;
  int encodings = 0;
  int hosts = 0;
  for (const auto& field : request) {
    if (field.name() == beast_http::field::content_length) ++lengths;
    if (field.name() == beast_http::field::host) ++hosts;
    if (field.name() == beast_http::field::transfer_encoding) {
      ++encodings;
      const auto value = field.value();
      framing.chunked = boost::beast::iequals(value, "chunked");
      if (!framing.chunked) framing.why = "Transfer-Encoding other than chunked";
    }
  }
  if (lengths > 1) framing.why = "more than one Content-Length";
  if (encodings > 1) framing.why = "more than one Transfer-Encoding";
  if (lengths > 0 && encodings > 0) framing.why = "Content-Length and Transfer-Encoding";
  if (encodings > 0 && request.version() < 11) framing.why = "Transfer-Encoding in HTTP/1.0";
  if (request.version() >= 11 && hosts != 1) framing.why = "not exactly one Host";
  framing.ok = framing.why.empty();
  return framing;
}

/// Between a handler's answer, which may come late and from anywhere, and the end of the server.
struct Gate {
  std::mutex mutex;
  bool open = true;
};

}  // namespace

struct Server::State {
  class Connection;

  State(ServerOptions options_in, AsyncHandler handler_in)
      : options(std::move(options_in)),
        handler(std::move(handler_in)),
        io(std::make_unique<asio::io_context>(std::max(1, options.threads))) {}

  void Accept();

  const ServerOptions options;
  const AsyncHandler handler;
  const std::shared_ptr<Gate> gate = std::make_shared<Gate>();
  std::atomic<int> connections = 0;
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
        born_(std::chrono::steady_clock::now()) {
    ++server_.connections;
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { --server_.connections; }

  void Start() {
    ErrorCode ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    ReadHeader();
  }

  void Close(bool reset = false) {
    ErrorCode ignored;
    timer_.cancel(ignored);
    if (reset) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
    if (!reset) socket_.shutdown(tcp::socket::shutdown_both, ignored);
    socket_.close(ignored);
  }

 private:
  using Parser = beast_http::request_parser<beast_http::string_body>;

  /// Closes the connection unless disarmed or armed again in time.
  void Arm(Duration after) {
    timer_.expires_after(after);
    timer_.async_wait([self = shared_from_this()](ErrorCode error) {
      if (!error) self->Close();
    });
  }
  void Disarm() {
    ErrorCode ignored;
    timer_.cancel(ignored);
  }

  void ReadHeader() {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(server_.options.header_bytes_max));
    parser_->body_limit(server_.options.body_bytes_max);
    parser_->eager(false);
    // Of a connection that is kept: first wait for a byte, then for the header.
    if (requests_ > 0 && in_.empty()) {
      Arm(server_.options.idle_timeout);
      socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](ErrorCode error) {
        if (!error) self->ReadRestOfHeader();
      });
      return;
    }
    ReadRestOfHeader();
  }

  void ReadRestOfHeader() {
    // A client that pipelines has sent it already.
    const std::size_t end = in_.find(kEndOfHeader);
    if (end != std::string::npos) return TakeHeader(end + kEndOfHeader.size());
    if (in_.size() >= server_.options.header_bytes_max) return Refuse(431, kHeaderTooLarge);
    Arm(server_.options.header_timeout);
    asio::async_read_until(socket_, asio::dynamic_buffer(in_, server_.options.header_bytes_max),
                           kEndOfHeader,
                           [self = shared_from_this()](ErrorCode error, std::size_t bytes) {
                             if (error == asio::error::not_found) {
                               self->Refuse(431, kHeaderTooLarge);
                             } else if (error) {
                               self->Close();
                             } else {
                               self->TakeHeader(bytes);
                             }
                           });
  }

  void TakeHeader(std::size_t bytes) {
    const std::string head = in_.substr(0, bytes);
    in_.erase(0, bytes);
    if (bytes > server_.options.header_bytes_max) return Refuse(431, kHeaderTooLarge);
    if (IsAmbiguous(head)) return Refuse(400, "malformed header");
    if (std::count(head.begin(), head.end(), '\n') > server_.options.headers_max + 2) {
      return Refuse(431, "too many header fields");
    }
    ErrorCode error;
    parser_->put(asio::buffer(head), error);
    if (error && error != beast_http::error::need_more) {
      return Refuse(error == beast_http::error::body_limit ? 413 : 400, error.message());
    }
    if (!parser_->is_header_done()) return Refuse(400, "malformed header");
    const auto& request = parser_->get();
    const Framing framing = CheckFraming(request);
    if (!framing.ok) return Refuse(400, framing.why);
    keep_alive_ = request.keep_alive();
    is_head_ = request.method() == beast_http::verb::head;

    Arm(server_.options.request_timeout);
    if (boost::beast::iequals(request[beast_http::field::expect], "100-continue") &&
        !parser_->is_done()) {
      asio::async_write(socket_, asio::buffer(kContinue),
                        [self = shared_from_this()](ErrorCode failed, std::size_t) {
                          failed ? self->Close() : self->TakeBody();
                        });
      return;
    }
    TakeBody();
  }

  /// Feeds what has been read, and reads on until the parser has the whole request.
  void TakeBody() {
    parser_->eager(true);
    while (!parser_->is_done() && !in_.empty()) {
      ErrorCode error;
      const std::size_t used = parser_->put(asio::buffer(in_), error);
      in_.erase(0, used);
      if (error == beast_http::error::need_more) break;
      if (error == beast_http::error::body_limit) return Refuse(413, "the body is too large");
      if (error) return Refuse(400, error.message());
    }
    if (parser_->is_done()) return Handle();
    // Chunk headers and extensions that the parser does not take yet.
    if (in_.size() > server_.options.header_bytes_max) return Refuse(400, "malformed chunk");
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = shared_from_this()](ErrorCode error, std::size_t bytes) {
                              if (error) return self->Close();
                              self->in_.append(self->chunk_.data(), bytes);
                              self->TakeBody();
                            });
  }

  void Handle() {
    Disarm();
    ++requests_;
    auto message = parser_->release();
    ServerRequest request;
    request.method.assign(message.method_string().data(), message.method_string().size());
    request.target.assign(message.target().data(), message.target().size());
    const std::size_t question = request.target.find('?');
    request.path = request.target.substr(0, question);
    if (question != std::string::npos) request.query = request.target.substr(question + 1);
    for (const auto& field : message) {
      request.headers.emplace_back(
          std::string(field.name_string().data(), field.name_string().size()),
          std::string(field.value().data(), field.value().size()));
    }
    request.body = std::move(message.body());

    // Only this timer keeps the connection while its handler works.
    timer_.expires_at(std::chrono::steady_clock::time_point::max());
    timer_.async_wait([self = shared_from_this()](ErrorCode) {});
    server_.handler(std::move(request), [gate = server_.gate, weak = weak_from_this(),
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
  void Refuse(int status, std::string_view why) {
    keep_alive_ = false;
    ServerResponse response{.status = status};
    response.body = std::string(why) + "\n";
    Write(response);
  }

  void Write(const ServerResponse& response) {
    using Fault = ServerResponse::Fault;
    const bool kept = response.fault == Fault::kNone && keep_alive_ &&
                      requests_ < server_.options.requests_per_connection_max &&
                      std::chrono::steady_clock::now() - born_ < server_.options.connection_age_max;
    const bool bodiless = response.status == 204 || response.status == 304 || response.status < 200;
    out_ = "HTTP/1.1 " + std::to_string(response.status) + " " + Reason(response.status) +
           "\r\nDate: " + DateHeader() + "\r\n";
    bool own_date = false;
    for (const auto& [name, value] : response.headers) {
      if (HasControl(name) || HasControl(value)) continue;
      if (boost::beast::iequals(name, "date")) own_date = true;
    }
    // A simulator has a clock of its own.
    if (own_date) out_.erase(out_.find("Date: "));
    for (const auto& [name, value] : response.headers) {
      if (HasControl(name) || HasControl(value)) continue;
      out_ += name + ": " + value + "\r\n";
    }
    if (!bodiless) {
      if (!response.content_type.empty()) {
        out_ += "Content-Type: " + response.content_type + "\r\n";
      }
      if (response.fault != Fault::kUnframed) {
        out_ += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
      }
    }
    out_ += kept ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
    if (!bodiless && !is_head_) {
      out_.append(
          response.body, 0,
          response.fault == Fault::kTruncate ? response.body.size() / 2 : response.body.size());
    }
    Arm(server_.options.request_timeout);
    asio::async_write(socket_, asio::buffer(out_),
                      [self = shared_from_this(), kept](ErrorCode error, std::size_t) {
                        if (error) return self->Close();
                        kept ? self->ReadHeader() : self->CloseAfterAnswer();
                      });
  }

  /// Lets the client read the answer: a close with unread input would reset the connection.
  void CloseAfterAnswer() {
    ErrorCode ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    Arm(std::chrono::seconds(2));
    DiscardInput();
  }
  void DiscardInput() {
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = shared_from_this()](ErrorCode error, std::size_t) {
                              error ? self->Close() : self->DiscardInput();
                            });
  }

  static constexpr std::string_view kEndOfHeader = "\r\n\r\n";
  static constexpr std::string_view kHeaderTooLarge = "the header is too large";
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

  tcp::socket socket_;
  asio::steady_timer timer_;
  State& server_;
  const std::chrono::steady_clock::time_point born_;
  /// Read and not yet taken.
  std::string in_;
  std::array<char, 16'384> chunk_{};
  std::string out_;
  std::optional<Parser> parser_;
  int requests_ = 0;
  bool keep_alive_ = false;
  bool is_head_ = false;
};

void Server::State::Accept() {
  acceptor->async_accept(asio::make_strand(*io), [this](ErrorCode error, tcp::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (!error && connections.load() < options.connections_max) {
      const auto executor = socket.get_executor();
      asio::dispatch(executor, [connection = std::make_shared<Connection>(
                                    std::move(socket), *this)] { connection->Start(); });
    } else if (error) {
      // Out of descriptors, most likely: accepting again at once would spin.
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
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
