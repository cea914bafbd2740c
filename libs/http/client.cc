#include "libs/http/client.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <deque>
#include <map>
#include <unordered_map>

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libs/http/socket_poll.h"
#include "libs/utf8/utf8.h"

namespace tributary::http {
namespace {

template <auto Destroy>
struct Deleter {
  template <typename T>
  void operator()(T* handle) const {
    Destroy(handle);
  }
};
using Easy = std::unique_ptr<CURL, Deleter<curl_easy_cleanup>>;
using Multi = std::unique_ptr<CURLM, Deleter<curl_multi_cleanup>>;
using List = std::unique_ptr<curl_slist, Deleter<curl_slist_free_all>>;
using Url = std::unique_ptr<CURLU, Deleter<curl_url_cleanup>>;

/// libcurl's own timers run by it too.
using TimerClock = std::chrono::steady_clock;
constexpr TimerClock::time_point kNoTimer = TimerClock::time_point::max();

void InitialiseOnce() {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  static_cast<void>(initialised);
}

long Millis(Duration duration) {
  return static_cast<long>(
      std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::milliseconds>(duration).count()));
}

std::string Part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK || text == nullptr) return "";
  std::string copy(text);
  curl_free(text);
  return copy;
}

struct Target {
  std::string scheme;
  /// Scheme, host and port.
  std::string origin;
  /// Empty: usable.
  std::string problem;
};

Target TargetOf(const std::string& text) {
  const Url url(curl_url());
  Target target;
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_DISALLOW_USER) != CURLUE_OK) {
    target.problem = "malformed URL";
    return target;
  }
  target.scheme = Part(url.get(), CURLUPART_SCHEME);
  target.origin = target.scheme + "://" + Part(url.get(), CURLUPART_HOST) + ":" +
                  Part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  return target;
}

bool IsLoopback(const curl_sockaddr& address) {
  if (address.family == AF_INET) {
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(&address.addr);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  if (address.family == AF_INET6) {
    const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(&address.addr);
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
  }
  return false;
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 && c != '\t'; });
}

/// Begins and ends as a JSON object or array, so that a strict reader notices a missing rest.
bool IsBracketed(std::string_view body) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!body.empty() && is_blank(body.front())) body.remove_prefix(1);
  while (!body.empty() && is_blank(body.back())) body.remove_suffix(1);
  return body.size() >= 2 && ((body.front() == '{' && body.back() == '}') ||
                              (body.front() == '[' && body.back() == ']'));
}

/// libcurl takes a length that is no number, or none that it can hold, for none at all.
bool HasLength(const Headers& headers, std::size_t size) {
  const std::string* const text = FindHeader(headers, "Content-Length");
  if (text == nullptr) return false;
  std::size_t length = 0;
  const char* const end = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), end, length);
  return error == std::errc() && at == end && length == size;
}

bool HasNoBody(std::string_view method, int status) {
  return method == "HEAD" || status == 204 || status == 304;
}

}  // namespace

struct Client::State {
  struct Transfer {
    State* client = nullptr;
    RequestId id = 0;
    Request request;
    std::string origin;
    Easy easy;
    List headers;
    int transmissions = 0;
    bool refused_at_send = false;
    bool cancelled = false;
    int redirects = 0;

    // Of the answer that is being read.
    int status = 0;
    Headers answer_headers;
    std::size_t answer_header_bytes = 0;
    /// The empty line behind a header of a final answer has come.
    bool has_whole_header = false;
    std::string body;
    bool too_large = false;
    bool not_loopback = false;
    std::array<char, CURL_ERROR_SIZE> error{};
  };

  explicit State(ClientOptions options_in, MaySend may_send_in)
      : options(std::move(options_in)), may_send(std::move(may_send_in)) {}

  const Target& TargetOfCached(const std::string& url);
  void Queue(std::unique_ptr<Transfer> transfer);
  void StartQueued();
  void Start(std::unique_ptr<Transfer> transfer);
  Easy MakeHandle();
  void SetUp(Transfer& transfer);
  void KeepHandle(Easy easy);
  void CollectEnded();
  bool FollowsRedirect(Transfer& transfer);
  void End(std::unique_ptr<Transfer> transfer, CURLcode code);
  std::unique_ptr<Transfer> TakeActive(RequestId id);
  void CompleteNotSent(RequestId id, std::string error);

  static int OnSend(void* user, char*, char*, int, int);
  static std::size_t OnHeader(char* data, std::size_t size, std::size_t count, void* user);
  static std::size_t OnBody(char* data, std::size_t size, std::size_t count, void* user);
  static curl_socket_t OnSocket(void* user, curlsocktype purpose, curl_sockaddr* address);
  static int OnClose(void* user, curl_socket_t socket);
  static int OnWatch(CURL* easy, curl_socket_t socket, int what, void* user, void* of_socket);
  static int OnTimer(CURLM* multi, long milliseconds, void* user);
  void Move(const std::vector<SocketPoll::Ready>& ready);

  const ClientOptions options;
  const MaySend may_send;
  SocketPoll sockets;
  /// When libcurl wants to be asked although nothing has happened.
  TimerClock::time_point timer = kNoTimer;
  Multi multi;
  std::unordered_map<RequestId, std::unique_ptr<Transfer>> active;
  std::map<std::string, int> active_by_origin;
  /// By origin, each in order.
  std::map<std::string, std::deque<std::unique_ptr<Transfer>>> queued;
  std::size_t queued_count = 0;
  std::vector<Easy> idle_handles;
  /// By all in front of the path.
  std::map<std::string, Target, std::less<>> targets;
  Target last_target;
  std::vector<Completion> ended;
};

Client::Client(ClientOptions options, MaySend may_send) {
  InitialiseOnce();
  state_ = std::make_unique<State>(std::move(options), std::move(may_send));
  state_->multi.reset(curl_multi_init());
  CURLM* const multi = state_->multi.get();
  curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                    static_cast<long>(state_->options.requests_per_host_max));
  curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                    static_cast<long>(state_->options.requests_max));
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, static_cast<long>(state_->options.requests_max));
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &State::OnWatch);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, state_.get());
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &State::OnTimer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, state_.get());
}

Client::~Client() {
  for (auto& [id, transfer] : state_->active) {
    curl_multi_remove_handle(state_->multi.get(), transfer->easy.get());
  }
}

void Client::Send(RequestId id, Request request) {
  auto transfer = std::make_unique<State::Transfer>();
  transfer->client = state_.get();
  transfer->id = id;
  const Target& target = state_->TargetOfCached(request.url);
  std::string problem = target.problem;
  if (problem.empty() && target.scheme == "http" && !request.allow_insecure_loopback) {
    problem = "plain http is not allowed here";
  }
  if (problem.empty() && target.scheme != "http" && target.scheme != "https") {
    problem = "neither http nor https";
  }
  if (request.method.empty() || !std::all_of(request.method.begin(), request.method.end(),
                                             [](char c) { return c >= 'A' && c <= 'Z'; })) {
    problem = "malformed method";
  }
  for (const auto& [name, value] : request.headers) {
    if (name.empty() || HasControl(name) || HasControl(value)) problem = "malformed header";
  }
  if (!problem.empty()) return state_->CompleteNotSent(id, std::move(problem));
  transfer->origin = target.origin;
  transfer->request = std::move(request);
  state_->Queue(std::move(transfer));
}

void Client::Cancel(RequestId id) {
  for (auto& [origin, transfers] : state_->queued) {
    const auto found = std::find_if(transfers.begin(), transfers.end(),
                                    [id](const auto& transfer) { return transfer->id == id; });
    if (found == transfers.end()) continue;
    transfers.erase(found);
    --state_->queued_count;
    return state_->CompleteNotSent(id, "cancelled");
  }
  auto transfer = state_->TakeActive(id);
  if (transfer == nullptr) return;
  transfer->cancelled = true;
  state_->End(std::move(transfer), CURLE_ABORTED_BY_CALLBACK);
}

std::vector<Completion> Client::Poll(const std::vector<int>& wake_fds, Duration max_wait) {
  State& state = *state_;
  state.StartQueued();
  // What was added just now begins; its timer is due at once.
  if (state.timer <= TimerClock::now()) state.Move({});
  Duration wait = state.ended.empty() ? max_wait : Duration::zero();
  if (state.timer != kNoTimer) {
    wait = std::min(wait, std::chrono::ceil<Duration>(state.timer - TimerClock::now()));
  }
  state.Move(state.sockets.Wait(wake_fds, wait));
  return std::exchange(state.ended, {});
}

void Client::State::Move(const std::vector<SocketPoll::Ready>& ready) {
  int running = 0;
  for (const SocketPoll::Ready& each : ready) {
    const int events = ((each.events & SocketPoll::kIn) != 0 ? CURL_CSELECT_IN : 0) |
                       ((each.events & SocketPoll::kOut) != 0 ? CURL_CSELECT_OUT : 0) |
                       ((each.events & SocketPoll::kError) != 0 ? CURL_CSELECT_ERR : 0);
    curl_multi_socket_action(multi.get(), each.socket, events, &running);
  }
  if (timer <= TimerClock::now()) {
    timer = kNoTimer;
    curl_multi_socket_action(multi.get(), CURL_SOCKET_TIMEOUT, 0, &running);
  }
  CollectEnded();
  // What ended makes room.
  StartQueued();
}

int Client::State::OnWatch(CURL*, curl_socket_t socket, int what, void* user, void*) {
  int events = SocketPoll::kNone;
  if (what == CURL_POLL_IN || what == CURL_POLL_INOUT) events |= SocketPoll::kIn;
  if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT) events |= SocketPoll::kOut;
  static_cast<State*>(user)->sockets.Watch(socket, events);
  return 0;
}

int Client::State::OnTimer(CURLM*, long milliseconds, void* user) {
  static_cast<State*>(user)->timer =
      milliseconds < 0 ? kNoTimer : TimerClock::now() + std::chrono::milliseconds(milliseconds);
  return 0;
}

void Client::Wake() { state_->sockets.Wake(); }

std::size_t Client::open() const {
  return state_->active.size() + state_->queued_count + state_->ended.size();
}

std::size_t Client::known_targets() const { return state_->targets.size(); }

/// Most requests go where another one went; to take a URL apart costs as much as a tenth of a
/// request.
const Target& Client::State::TargetOfCached(const std::string& url) {
  const std::size_t scheme = url.find("://");
  const bool is_plain =
      scheme != std::string::npos &&
      std::all_of(url.begin(), url.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!is_plain) return last_target = TargetOf(url);
  const std::size_t end = url.find_first_of("/?#", scheme + 3);
  const std::string_view front = std::string_view(url).substr(0, end);
  if (const auto found = targets.find(front); found != targets.end()) return found->second;
  Target target = TargetOf(url);
  if (!target.problem.empty()) return last_target = std::move(target);
  if (targets.size() >= kKnownTargetsMax) targets.clear();
  return targets.emplace(front, std::move(target)).first->second;
}

void Client::State::Queue(std::unique_ptr<Transfer> transfer) {
  queued[transfer->origin].push_back(std::move(transfer));
  ++queued_count;
}

void Client::State::StartQueued() {
  for (auto it = queued.begin(); it != queued.end();) {
    auto& [origin, transfers] = *it;
    while (!transfers.empty() && active_by_origin[origin] < options.requests_per_host_max &&
           active.size() < static_cast<std::size_t>(options.requests_max)) {
      auto transfer = std::move(transfers.front());
      transfers.pop_front();
      --queued_count;
      Start(std::move(transfer));
    }
    it = transfers.empty() ? queued.erase(it) : std::next(it);
  }
}

void Client::State::Start(std::unique_ptr<Transfer> transfer) {
  if (idle_handles.empty()) {
    transfer->easy = MakeHandle();
  } else {
    transfer->easy = std::move(idle_handles.back());
    idle_handles.pop_back();
  }
  SetUp(*transfer);
  ++active_by_origin[transfer->origin];
  CURL* const easy = transfer->easy.get();
  active.emplace(transfer->id, std::move(transfer));
  curl_multi_add_handle(multi.get(), easy);
}

/// With what is the same for all requests.
Easy Client::State::MakeHandle() {
  Easy made(curl_easy_init());
  CURL* const easy = made.get();
  const auto set = [easy](CURLoption option, auto value) { curl_easy_setopt(easy, option, value); };
  set(CURLOPT_NOSIGNAL, 1L);
  // HTTP/2 of this libcurl reports aborted streams as complete.
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_PROXY, "");
  set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  set(CURLOPT_SSL_VERIFYPEER, 1L);
  set(CURLOPT_SSL_VERIFYHOST, 2L);
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!options.ca_file.empty()) set(CURLOPT_CAINFO, options.ca_file.c_str());
  set(CURLOPT_USERAGENT, options.user_agent.c_str());
  set(CURLOPT_MAXAGE_CONN,
      static_cast<long>(
          std::chrono::ceil<std::chrono::seconds>(options.connection_idle_max).count()));
  set(CURLOPT_MAXLIFETIME_CONN,
      static_cast<long>(
          std::chrono::ceil<std::chrono::seconds>(options.connection_age_max).count()));
  set(CURLOPT_DNS_CACHE_TIMEOUT, 60L);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_CLOSESOCKETFUNCTION, &State::OnClose);
  set(CURLOPT_CLOSESOCKETDATA, static_cast<void*>(&sockets));
  set(CURLOPT_PREREQFUNCTION, &State::OnSend);
  set(CURLOPT_HEADERFUNCTION, &State::OnHeader);
  set(CURLOPT_WRITEFUNCTION, &State::OnBody);
  return made;
}

/// With all that may differ from one request to the next, since a handle serves many.
void Client::State::SetUp(Transfer& transfer) {
  CURL* const easy = transfer.easy.get();
  const Request& request = transfer.request;
  const auto set = [easy](CURLoption option, auto value) { curl_easy_setopt(easy, option, value); };

  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PRIVATE, &transfer);
  set(CURLOPT_ERRORBUFFER, transfer.error.data());
  set(CURLOPT_PROTOCOLS_STR, request.allow_insecure_loopback ? "http,https" : "https");
  set(CURLOPT_CONNECTTIMEOUT_MS, Millis(std::min(options.connect_timeout, request.timeout)));
  set(CURLOPT_TIMEOUT_MS, Millis(request.timeout));
  set(CURLOPT_PREREQDATA, &transfer);
  set(CURLOPT_HEADERDATA, &transfer);
  set(CURLOPT_WRITEDATA, &transfer);
  const bool is_plain = request.allow_insecure_loopback && request.url.rfind("https:", 0) != 0;
  set(CURLOPT_OPENSOCKETFUNCTION,
      is_plain ? static_cast<curl_opensocket_callback>(&State::OnSocket) : nullptr);
  set(CURLOPT_OPENSOCKETDATA, &transfer);

  curl_slist* list = nullptr;
  // An own wait for `100 Continue` would be a second for nothing.
  list = curl_slist_append(list, "Expect:");
  if (FindHeader(request.headers, "Content-Type") == nullptr) {
    list = curl_slist_append(list, "Content-Type:");
  }
  for (const auto& [name, value] : request.headers) {
    // libcurl sends an empty header only if it ends in a semicolon.
    list = curl_slist_append(list, (value.empty() ? name + ";" : name + ": " + value).c_str());
  }
  transfer.headers.reset(list);
  set(CURLOPT_HTTPHEADER, list);

  set(CURLOPT_CUSTOMREQUEST, static_cast<const char*>(nullptr));
  // Takes back what a HEAD or a POST has set.
  set(CURLOPT_HTTPGET, 1L);
  if (request.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    if (!request.body.empty() || request.method == "POST" || request.method == "PUT" ||
        request.method == "PATCH") {
      set(CURLOPT_POST, 1L);
      set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      set(CURLOPT_POSTFIELDS, request.body.data());
    }
    set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

int Client::State::OnSend(void* user, char*, char*, int, int) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.request.is_write && transfer.transmissions > 0) {
    // libcurl found the connection dead and begins anew. What went over it may have been handled.
    return CURL_PREREQFUNC_ABORT;
  }
  if (!transfer.client->may_send(transfer.id)) {
    transfer.refused_at_send = true;
    return CURL_PREREQFUNC_ABORT;
  }
  ++transfer.transmissions;
  return CURL_PREREQFUNC_OK;
}

std::size_t Client::State::OnHeader(char* data, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  std::string_view line(data, size * count);
  transfer.answer_header_bytes += line.size();
  if (transfer.answer_header_bytes > transfer.client->options.header_bytes_max) {
    transfer.too_large = true;
    return 0;
  }
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  // Fields behind the chunks of a body: nothing of them is known to mean anything.
  if (transfer.has_whole_header) return size * count;
  if (line.empty()) {
    // Behind an interim one the next begins.
    transfer.has_whole_header = transfer.status >= 200;
    return size * count;
  }
  if (line.rfind("HTTP/", 0) == 0) {
    // Also behind a `100 Continue`, and behind a dead connection of a read.
    transfer.answer_headers.clear();
    transfer.body.clear();
    long status = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
    // libcurl takes more digits.
    transfer.status = status >= 100 && status <= 999 ? static_cast<int>(status) : 0;
    return size * count;
  }
  const std::size_t colon = line.find(':');
  if (colon != std::string_view::npos) {
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
      value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    transfer.answer_headers.emplace_back(std::string(line.substr(0, colon)), std::string(value));
  }
  return size * count;
}

std::size_t Client::State::OnBody(char* data, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.body.size() + size * count > transfer.request.body_bytes_max) {
    transfer.too_large = true;
    return 0;
  }
  transfer.body.append(data, size * count);
  return size * count;
}

curl_socket_t Client::State::OnSocket(void* user, curlsocktype, curl_sockaddr* address) {
  auto& transfer = *static_cast<Transfer*>(user);
  // At the address itself, whatever the name resolved to.
  if (!IsLoopback(*address)) {
    transfer.not_loopback = true;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

int Client::State::OnClose(void* user, curl_socket_t socket) {
  static_cast<SocketPoll*>(user)->Forget(socket);
  return close(socket);
}

void Client::State::CollectEnded() {
  int left = 0;
  while (const CURLMsg* const message = curl_multi_info_read(multi.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    Transfer* found = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &found);
    auto transfer = TakeActive(found->id);
    if (code == CURLE_OK && FollowsRedirect(*transfer)) {
      KeepHandle(std::move(transfer->easy));
      Queue(std::move(transfer));
      continue;
    }
    End(std::move(transfer), code);
  }
}

/// Ours rather than libcurl's, which would go to other hosts.
bool Client::State::FollowsRedirect(Transfer& transfer) {
  if (transfer.request.is_write || transfer.status < 301 || transfer.status > 308) return false;
  if (transfer.request.method != "GET" && transfer.request.method != "HEAD") return false;
  char* location = nullptr;
  curl_easy_getinfo(transfer.easy.get(), CURLINFO_REDIRECT_URL, &location);
  if (location == nullptr || transfer.redirects >= options.redirects_max) return false;
  const std::string url(location);
  const Target target = TargetOf(url);
  if (!target.problem.empty() || target.origin != transfer.origin) return false;
  ++transfer.redirects;
  transfer.request.url = url;
  transfer.status = 0;
  transfer.answer_headers.clear();
  transfer.answer_header_bytes = 0;
  transfer.has_whole_header = false;
  transfer.body.clear();
  return true;
}

std::unique_ptr<Client::State::Transfer> Client::State::TakeActive(RequestId id) {
  const auto found = active.find(id);
  if (found == active.end()) return nullptr;
  auto transfer = std::move(found->second);
  active.erase(found);
  curl_multi_remove_handle(multi.get(), transfer->easy.get());
  if (--active_by_origin[transfer->origin] == 0) active_by_origin.erase(transfer->origin);
  return transfer;
}

void Client::State::CompleteNotSent(RequestId id, std::string error) {
  Completion completion;
  completion.id = id;
  completion.delivery = Delivery::kNotSent;
  completion.error = std::move(error);
  ended.push_back(std::move(completion));
}

void Client::State::End(std::unique_ptr<Transfer> transfer, CURLcode code) {
  Completion completion;
  completion.id = transfer->id;
  completion.refused_at_send = transfer->refused_at_send;
  completion.status = transfer->status;
  curl_off_t micros = 0;
  curl_easy_getinfo(transfer->easy.get(), CURLINFO_TOTAL_TIME_T, &micros);
  completion.elapsed = Duration(micros);

  if (code == CURLE_OK) {
    const std::string* const encoding = FindHeader(transfer->answer_headers, "Transfer-Encoding");
    const bool framed = HasNoBody(transfer->request.method, transfer->status) ||
                        HasLength(transfer->answer_headers, transfer->body.size()) ||
                        (encoding != nullptr && encoding->ends_with("chunked"));
    const bool success = transfer->status >= 200 && transfer->status < 300;
    if (!transfer->has_whole_header) {
      completion.delivery = Delivery::kBroken;
      completion.error = "no whole header of an answer came";
    } else if (framed || !success || IsBracketed(transfer->body)) {
      completion.delivery = Delivery::kComplete;
    } else {
      completion.delivery = Delivery::kBroken;
      completion.error = "the answer has neither a length nor chunks and may be cut";
    }
  } else {
    completion.delivery = transfer->transmissions == 0 ? Delivery::kNotSent : Delivery::kBroken;
    if (transfer->too_large) {
      completion.error = "the answer is larger than allowed";
    } else if (transfer->not_loopback) {
      completion.error = "plain http is allowed to this machine only";
    } else if (transfer->refused_at_send) {
      completion.error = "refused at the send";
    } else if (transfer->cancelled) {
      completion.error = "cancelled";
    } else if (code == CURLE_ABORTED_BY_CALLBACK) {
      completion.error = "the connection died behind the request";
    } else {
      // It may quote the server, and is cut to its buffer.
      completion.error = utf8::Cleaned(transfer->error[0] != '\0' ? transfer->error.data()
                                                                  : curl_easy_strerror(code));
    }
  }
  completion.headers = std::move(transfer->answer_headers);
  completion.body = std::move(transfer->body);
  ended.push_back(std::move(completion));

  KeepHandle(std::move(transfer->easy));
}

void Client::State::KeepHandle(Easy easy) {
  constexpr std::size_t kIdleHandlesMax = 32;
  if (idle_handles.size() >= kIdleHandlesMax) return;
  // What they point to goes with the transfer.
  curl_easy_setopt(easy.get(), CURLOPT_ERRORBUFFER, static_cast<char*>(nullptr));
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, static_cast<curl_slist*>(nullptr));
  curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, static_cast<char*>(nullptr));
  curl_easy_setopt(easy.get(), CURLOPT_PRIVATE, static_cast<char*>(nullptr));
  idle_handles.push_back(std::move(easy));
}

}  // namespace tributary::http
