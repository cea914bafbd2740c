#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include <lmdb.h>

// What lmdb_stores.cc and embedded/ share of LMDB's C API. Private to them.

namespace tributary::eventlog::lmdb {

inline absl::Status ToStatus(int code, std::string_view doing) {
  if (code == MDB_SUCCESS) return absl::OkStatus();
  const std::string text = std::string(doing) + ": " + mdb_strerror(code);
  switch (code) {
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
      return absl::ResourceExhaustedError(text);
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_PANIC:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
      return absl::DataLossError(text);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(text);
    default:
      return absl::UnavailableError(text);
  }
}

inline MDB_val ToVal(std::string_view bytes) {
  // LMDB's C API has no const; it does not write through keys and values given to it.
  return MDB_val{bytes.size(), const_cast<char*>(bytes.data())};
}

inline std::string_view ToView(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}

/// Aborts when it goes out of scope uncommitted.
class Transaction {
 public:
  Transaction() = default;
  ~Transaction() { Abort(); }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  int Begin(MDB_env* env, unsigned flags) { return mdb_txn_begin(env, nullptr, flags, &txn_); }
  int Commit() { return mdb_txn_commit(std::exchange(txn_, nullptr)); }
  void Abort() {
    if (txn_ != nullptr) mdb_txn_abort(std::exchange(txn_, nullptr));
  }
  MDB_txn* get() const { return txn_; }

 private:
  MDB_txn* txn_ = nullptr;
};

/// Closes when it goes out of scope; must not outlive its transaction.
class Cursor {
 public:
  Cursor() = default;
  ~Cursor() {
    if (cursor_ != nullptr) mdb_cursor_close(cursor_);
  }
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  int Open(MDB_txn* txn, MDB_dbi dbi) { return mdb_cursor_open(txn, dbi, &cursor_); }
  MDB_cursor* get() const { return cursor_; }

 private:
  MDB_cursor* cursor_ = nullptr;
};

/// Big-endian, so that byte order is the order of the numbers.
template <typename Integer>
void AppendBigEndian(std::string& out, Integer number) {
  using Unsigned = std::make_unsigned_t<Integer>;
  const auto bits = static_cast<Unsigned>(number);
  for (int shift = static_cast<int>(sizeof(Integer)) * 8 - 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>((bits >> shift) & 0xff));
  }
}

/// `at` + sizeof(Integer) must lie within `bytes`.
template <typename Integer>
Integer ReadBigEndian(std::string_view bytes, std::size_t at) {
  using Unsigned = std::make_unsigned_t<Integer>;
  Unsigned bits = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    bits = static_cast<Unsigned>((bits << 8) | static_cast<unsigned char>(bytes[at + i]));
  }
  return static_cast<Integer>(bits);
}

}  // namespace tributary::eventlog::lmdb
