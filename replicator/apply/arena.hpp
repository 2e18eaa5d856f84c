// Bump allocator for what a message is decoded into: strings that had to be unescaped, arrays of
// fields. Everything lives until the arena is destroyed or clear()ed; nothing is destructed.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <type_traits>
#include <vector>

namespace cqrs::apply {

class Arena {
  public:
    char* bytes(std::size_t size) {
        size = (size + 7) & ~std::size_t{7};
        if (size > left_) grow(size);
        char* at = next_;
        next_ += size;
        left_ -= size;
        return at;
    }
    template <typename T>
    T* array(std::size_t count) {
        static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= 8);
        T* at = reinterpret_cast<T*>(bytes(count * sizeof(T)));
        for (std::size_t i = 0; i < count; ++i) new (at + i) T();
        return at;
    }
    std::string_view copy(std::string_view text) {
        char* at = bytes(text.size());
        if (!text.empty()) std::memcpy(at, text.data(), text.size());
        return {at, text.size()};
    }
    std::size_t allocated() const { return allocated_; }
    void clear() {
        blocks_.clear();
        next_ = nullptr;
        left_ = allocated_ = 0;
    }

  private:
    void grow(std::size_t size) {
        const std::size_t block = size > block_size / 4 ? size : block_size;
        blocks_.push_back(std::make_unique_for_overwrite<char[]>(block));
        allocated_ += block;
        next_ = blocks_.back().get();
        left_ = block;
    }

    static constexpr std::size_t block_size = 64 * 1024;
    std::vector<std::unique_ptr<char[]>> blocks_;
    char* next_ = nullptr;
    std::size_t left_ = 0, allocated_ = 0;
};

}  // namespace cqrs::apply
