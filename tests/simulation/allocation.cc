#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

// Nearly all that a history allocates is small and lives for a moment: it comes from a list of its
// size. Nothing goes back to the system, for the next history wants as much. Not where a sanitizer
// wants to see each allocation.

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

constexpr std::size_t kStep = 16;
constexpr std::size_t kSizes = 64;
constexpr std::size_t kChunkBytes = std::size_t{1} << 18;

// In front of each block, so that it keeps its alignment.
struct alignas(kStep) Header {
  // Its place in `lists.free`. `kSizes`: of the general allocator.
  std::size_t size;
};

struct Block {
  Block* next;
};

struct Lists {
  std::array<Block*, kSizes> free;
  char* begin;
  char* end;
};

// Of each thread; a block may end in another one than it came from.
thread_local constinit Lists lists{};

void* FromSystem(std::size_t bytes, std::size_t size) {
  void* const memory = std::malloc(bytes + sizeof(Header));
  if (memory == nullptr) throw std::bad_alloc();
  return new (memory) Header{size} + 1;
}

[[gnu::noinline]] void* Carve(std::size_t bytes, std::size_t size) {
  if (size >= kSizes) return FromSystem(bytes, kSizes);
  const std::size_t whole = size * kStep + sizeof(Header);
  if (static_cast<std::size_t>(lists.end - lists.begin) < whole) {
    void* const chunk = std::malloc(kChunkBytes);
    if (chunk == nullptr) throw std::bad_alloc();
    lists.begin = static_cast<char*>(chunk);
    lists.end = lists.begin + kChunkBytes;
  }
  void* const memory = lists.begin;
  lists.begin += whole;
  return new (memory) Header{size} + 1;
}

}  // namespace

void* operator new(std::size_t bytes) {
  const std::size_t size = bytes <= kStep ? 1 : (bytes + kStep - 1) / kStep;
  if (size < kSizes) {
    if (Block* const block = lists.free[size]) {
      lists.free[size] = block->next;
      return block;
    }
  }
  return Carve(bytes, size);
}

void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  Header* const header = static_cast<Header*>(memory) - 1;
  if (header->size >= kSizes) {
    std::free(header);
    return;
  }
  lists.free[header->size] = new (memory) Block{lists.free[header->size]};
}

// All forms, for what one of them gives may come back by another.
void* operator new[](std::size_t bytes) { return operator new(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return operator new(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return operator new(bytes);
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }
void operator delete[](void* memory) noexcept { operator delete(memory); }
void operator delete[](void* memory, std::size_t) noexcept { operator delete(memory); }

#endif
