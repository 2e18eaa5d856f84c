#include "apply/copy_binary.hpp"

#include <array>
#include <bit>
#include <charconv>
#include <limits>
#include <optional>

namespace cqrs::apply {

namespace {

template <typename T>
void put(std::string& out, T value) {
    std::array<char, sizeof(T)> bytes;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        bytes[i] = static_cast<char>(value >> (8 * (sizeof(T) - 1 - i)));
    out.append(bytes.data(), bytes.size());
}

template <typename T>
void put_field(std::string& out, T value) {
    put(out, static_cast<std::uint32_t>(sizeof(T)));
    put(out, value);
}

void put_bytes(std::string& out, std::string_view bytes) {
    put(out, static_cast<std::uint32_t>(bytes.size()));
    out.append(bytes);
}

// The whole text is a number, or it is none.
template <typename T>
std::optional<T> number(std::string_view text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

template <typename T, typename Bits>
bool append_integer(std::string& out, std::string_view text) {
    const auto value = number<T>(text);
    if (value) put_field(out, static_cast<Bits>(*value));
    return value.has_value();
}

template <typename T, typename Bits>
bool append_float(std::string& out, std::string_view text) {
    // from_chars() takes words too, and more of them than Postgres prints.
    const auto value = text.find_first_not_of("0123456789+-.e") == std::string_view::npos
                           ? number<T>(text)
                           : std::nullopt;
    if (value) put_field(out, std::bit_cast<Bits>(*value));
    return value.has_value();
}

constexpr std::array<std::int8_t, 256> make_hex() {
    std::array<std::int8_t, 256> values{};
    values.fill(-1);
    for (int i = 0; i < 10; ++i)
        values[static_cast<std::size_t>('0' + i)] = static_cast<std::int8_t>(i);
    for (int i = 0; i < 6; ++i) {
        values[static_cast<std::size_t>('a' + i)] = static_cast<std::int8_t>(10 + i);
        values[static_cast<std::size_t>('A' + i)] = static_cast<std::int8_t>(10 + i);
    }
    return values;
}
constexpr std::array<std::int8_t, 256> hex = make_hex();

bool append_uuid(std::string& out, std::string_view text) {
    if (text.size() != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' ||
        text[23] != '-')
        return false;
    constexpr std::array places{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};
    std::array<char, 20> field{0, 0, 0, 16};
    int wrong = 0;
    for (std::size_t i = 0; i < places.size(); ++i) {
        const auto at = static_cast<std::size_t>(places[i]);
        const int high = hex[static_cast<unsigned char>(text[at])];
        const int low = hex[static_cast<unsigned char>(text[at + 1])];
        wrong |= high | low;  // negative if one of them is
        field[4 + i] = static_cast<char>(high << 4 | low);
    }
    if (wrong < 0) return false;
    out.append(field.data(), field.size());
    return true;
}

// Takes what it reads off the front of the text.
class Reader {
  public:
    explicit Reader(std::string_view text) : rest_(text) {}
    bool take(char c) {
        if (rest_.empty() || rest_.front() != c) return false;
        rest_.remove_prefix(1);
        return true;
    }
    // So many digits, or more if `more`; -1: there are none.
    int digits(std::size_t width, bool more = false) {
        std::size_t n = 0;
        int value = 0;
        while (n < rest_.size() && n < (more ? 7 : width) && rest_[n] >= '0' && rest_[n] <= '9')
            value = value * 10 + (rest_[n++] - '0');
        if (n < width) return -1;
        rest_.remove_prefix(n);
        read_ = n;
        return value;
    }
    std::size_t read() const { return read_; }  // digits of the last number
    bool end() const { return rest_.empty(); }

  private:
    std::string_view rest_;
    std::size_t read_ = 0;
};

constexpr std::int64_t day = 86'400'000'000;

// Days since 2000-01-01 of 2026-11-25. Years before Christ are the server's.
std::optional<std::int32_t> read_date(Reader& in) {
    const int year = in.digits(4, true);
    if (year < 1 || !in.take('-')) return std::nullopt;
    const int month = in.digits(2);
    if (month < 1 || month > 12 || !in.take('-')) return std::nullopt;
    const int date = in.digits(2);
    constexpr std::array lengths{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    const int last = lengths[static_cast<std::size_t>(month - 1)] + (leap && month == 2 ? 1 : 0);
    if (date < 1 || date > last || year > 290'000) return std::nullopt;
    // Years begin in March: the leap day is their last.
    const int y = month > 2 ? year : year - 1;
    const int of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + date - 1;
    constexpr int before_2000 = 730'425;  // from 0000-03-01
    return 365 * y + y / 4 - y / 100 + y / 400 + of_year - before_2000;
}

std::optional<std::int64_t> read_timestamp(Reader& in) {
    const auto days = read_date(in);
    if (!days || !in.take(' ')) return std::nullopt;
    const int hour = in.digits(2);
    if (hour < 0 || hour > 23 || !in.take(':')) return std::nullopt;
    const int minute = in.digits(2);
    if (minute < 0 || minute > 59 || !in.take(':')) return std::nullopt;
    const int second = in.digits(2);
    if (second < 0 || second > 59) return std::nullopt;
    int fraction = 0;
    if (in.take('.')) {
        fraction = in.digits(1, true);
        if (fraction < 0 || in.read() > 6) return std::nullopt;
        for (std::size_t i = in.read(); i < 6; ++i) fraction *= 10;
    }
    return *days * day + ((hour * 60 + minute) * std::int64_t{60} + second) * 1'000'000 + fraction;
}

template <typename T>
std::optional<T> infinity(std::string_view text) {
    if (text == "infinity") return std::numeric_limits<T>::max();
    if (text == "-infinity") return std::numeric_limits<T>::min();
    return std::nullopt;
}

bool append_date(std::string& out, std::string_view text) {
    Reader in(text);
    auto value = infinity<std::int32_t>(text);
    if (!value && (!(value = read_date(in)) || !in.end())) return false;
    put_field(out, static_cast<std::uint32_t>(*value));
    return true;
}

bool append_timestamp(std::string& out, std::string_view text, bool with_zone) {
    Reader in(text);
    auto value = infinity<std::int64_t>(text);
    if (!value) {
        value = read_timestamp(in);
        // The plugin prints UTC.
        if (!value || (with_zone && !(in.take('+') && in.digits(2) == 0)) || !in.end())
            return false;
    }
    put_field(out, static_cast<std::uint64_t>(*value));
    return true;
}

}  // namespace

BinaryForm binary_form(std::uint32_t type) noexcept {
    switch (type) {
        case 16:
            return BinaryForm::boolean;
        case 21:
            return BinaryForm::int2;
        case 23:
            return BinaryForm::int4;
        case 20:
            return BinaryForm::int8;
        case 700:
            return BinaryForm::float4;
        case 701:
            return BinaryForm::float8;
        case 2950:
            return BinaryForm::uuid;
        case 25:    // text
        case 1042:  // bpchar
        case 1043:  // varchar
        case 114:   // json
            return BinaryForm::text;
        case 3802:
            return BinaryForm::jsonb;
        case 1082:
            return BinaryForm::date;
        case 1114:
            return BinaryForm::timestamp;
        case 1184:
            return BinaryForm::timestamptz;
        default:
            return BinaryForm::none;
    }
}

std::uint32_t key_type(std::string_view name) noexcept {
    if (name == "uuid") return 2950;
    if (name == "bigint") return 20;
    if (name == "integer") return 23;
    if (name == "text") return 25;
    return 0;
}

void append_binary_header(std::string& out) {
    constexpr char magic[] = "PGCOPY\n\377\r\n";  // with the zero at its end
    out.append(magic, sizeof magic);
    out.append(8, '\0');  // no flags, no extension
}

void append_binary_trailer(std::string& out) {
    append_binary_int2(out, -1);
}

void append_binary_int2(std::string& out, std::int16_t value) {
    put(out, static_cast<std::uint16_t>(value));
}

void append_binary_int8(std::string& out, std::int64_t value) {
    put_field(out, static_cast<std::uint64_t>(value));
}

void append_binary_array(std::string& out, std::uint32_t element, std::size_t size) {
    put(out, std::uint32_t{1});  // dimensions
    put(out, std::uint32_t{0});  // no nulls
    put(out, element);
    put(out, static_cast<std::uint32_t>(size));
    put(out, std::uint32_t{1});  // the first index
}

void append_binary_null(std::string& out) {
    put(out, static_cast<std::uint32_t>(-1));
}

bool append_binary(std::string& out, BinaryForm form, std::string_view text) {
    switch (form) {
        case BinaryForm::none:
            return false;
        case BinaryForm::boolean:
            if (text != "t" && text != "f") return false;
            put_field(out, static_cast<std::uint8_t>(text == "t"));
            return true;
        case BinaryForm::int2:
            return append_integer<std::int16_t, std::uint16_t>(out, text);
        case BinaryForm::int4:
            return append_integer<std::int32_t, std::uint32_t>(out, text);
        case BinaryForm::int8:
            return append_integer<std::int64_t, std::uint64_t>(out, text);
        case BinaryForm::float4:
            return append_float<float, std::uint32_t>(out, text);
        case BinaryForm::float8:
            return append_float<double, std::uint64_t>(out, text);
        case BinaryForm::uuid:
            return append_uuid(out, text);
        case BinaryForm::text:
            put_bytes(out, text);
            return true;
        case BinaryForm::jsonb:
            put(out, static_cast<std::uint32_t>(text.size() + 1));
            out += '\1';  // the version of the form
            out.append(text);
            return true;
        case BinaryForm::date:
            return append_date(out, text);
        case BinaryForm::timestamp:
        case BinaryForm::timestamptz:
            return append_timestamp(out, text, form == BinaryForm::timestamptz);
    }
    return false;
}

}  // namespace cqrs::apply
