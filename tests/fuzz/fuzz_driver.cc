// Runs a fuzz target without libFuzzer: first every file of the corpus, then mutants of them until the time is up. The
// mutants of a seed are always the same ones. An input that breaks the target is saved beside the program's working
// folder as crash-TARGET.bin, and can be given as the only FILE to run it again.
//
//   fuzz_TARGET [--seconds N] [--seed S] FOLDER_OR_FILE...
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "tests/fuzz/fuzz_target.h"

// Read by the sanitizer's runtime. The limits make an allocation that the input's size does not pay for an error.
extern "C" const char* __asan_default_options() {
  return "max_allocation_size_mb=256:handle_abort=1:detect_stack_use_after_return=0";
}

namespace {

using Bytes = std::vector<uint8_t>;
using microtome::Rng;
namespace fs = std::filesystem;

constexpr size_t kMaxInput = 256 << 10;
constexpr unsigned kSecondsAnInput = 30;

// What runs now, for the handlers below; they are called with no argument of ours.
const Bytes* running = nullptr;
std::string crash_file;

void save_running() {
  if (!running) return;
  std::ofstream(crash_file, std::ios::binary)
      .write(reinterpret_cast<const char*>(running->data()), static_cast<std::streamsize>(running->size()));
  std::fprintf(stderr, "fuzz: the input of %zu bytes is saved as %s\n", running->size(), crash_file.c_str());
}

void too_slow(int) {
  std::fprintf(stderr, "fuzz: one input took longer than %u s\n", kSecondsAnInput);
  save_running();
  _exit(1);
}

void run_one(const Bytes& input) {
  // An exact copy on the heap, so that a read one byte past the end is seen.
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[input.size()]);
  std::copy(input.begin(), input.end(), exact.get());
  running = &input;
  ::alarm(kSecondsAnInput);
  try {
    LLVMFuzzerTestOneInput(exact.get(), input.size());
  } catch (const std::exception& e) {
    microtome::fuzz::require(false, std::string("an exception got out: ") + e.what());
  }
  ::alarm(0);
  running = nullptr;
}

Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

// A piece of text that parsers treat specially.
Bytes interesting(Rng& rng) {
  static const std::vector<std::string> texts = {
      "0", "1", "-1", "2", "3.5", "1e999", "-0", "4294967296", "9223372036854775807", "9223372036854775808",
      "18446744073709551615", "4611686018427387904", "2147483648", "NaN", "Infinity", "-Infinity", "null", "true",
      "false",
      "\"\"", "[]", "{}", "[[[[", "]]]]", "{\"a\":", "\"", "\\", "\\u0000", "\\ud800", "\\udc00\\ud800", ",", ":", "[",
      "]", "{", "}", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xef\xbb\xbf", std::string(1, '\0'),
      "{\"__float__\":\"Infinity\"}", "(((", "(?i)", "*", "+?", "\\p{L}", "[^", "(?!", "\"F32\"", "\"BF16\"",
      "\"F64\""};
  return bytes_of(rng.pick(texts));
}

Bytes slice(const Bytes& b, size_t at, size_t n) {
  return {b.begin() + static_cast<ptrdiff_t>(at), b.begin() + static_cast<ptrdiff_t>(at + n)};
}

void replace(Bytes& b, size_t at, size_t n, const Bytes& by) {
  b.erase(b.begin() + static_cast<ptrdiff_t>(at), b.begin() + static_cast<ptrdiff_t>(at + n));
  b.insert(b.begin() + static_cast<ptrdiff_t>(at), by.begin(), by.end());
}

void mutate_once(Bytes& b, const std::vector<Bytes>& corpus, Rng& rng) {
  const size_t at = rng.below(b.size() + 1);
  const size_t rest = b.size() - at;
  // Mostly short, sometimes anything.
  const size_t span = rest == 0 ? 0 : rng.below(std::min<size_t>(rest, rng.below(4) ? 16 : rest) + 1);
  switch (rng.below(10)) {
    case 0:
      if (rest) b[at] ^= static_cast<uint8_t>(1u << rng.below(8));
      return;
    case 1:
      if (rest) b[at] = static_cast<uint8_t>(rng.below(256));
      return;
    case 2: replace(b, at, span, {}); return;
    case 3: replace(b, at, 0, interesting(rng)); return;
    case 4: replace(b, at, span, interesting(rng)); return;
    case 5: replace(b, at, 0, slice(b, at, span)); return;
    case 6:
      if (rng.below(8) == 0) b.resize(at);
      return;
    case 7: {      // a piece of another file
      const Bytes& other = rng.pick(corpus);
      const size_t from = rng.below(other.size() + 1);
      const size_t n = rng.below(std::min<size_t>(other.size() - from, 200) + 1);
      replace(b, at, span, slice(other, from, n));
      return;
    }
    case 8: {      // another number where one stands
      const auto digit = [](uint8_t c) { return c >= '0' && c <= '9'; };
      const auto first = std::find_if(b.begin() + static_cast<ptrdiff_t>(at), b.end(), digit);
      const auto last = std::find_if_not(first, b.end(), digit);
      const size_t start = static_cast<size_t>(first - b.begin()), n = static_cast<size_t>(last - first);
      const Bytes by = rng.below(2) ? interesting(rng) : bytes_of(std::to_string(rng.below(1000)));
      replace(b, start, n, by);
      return;
    }
    case 9: {      // a whole quoted text goes, doubles, or changes places
      const auto quote = std::find(b.begin() + static_cast<ptrdiff_t>(at), b.end(), uint8_t{'"'});
      if (quote == b.end()) return;
      const auto end = std::find(quote + 1, b.end(), uint8_t{'"'});
      if (end == b.end()) return;
      const Bytes text(quote, end + 1);
      const size_t start = static_cast<size_t>(quote - b.begin());
      if (rng.below(2)) replace(b, start, text.size(), interesting(rng));
      else replace(b, rng.below(b.size() + 1), 0, text);
      return;
    }
  }
}

std::vector<Bytes> read_corpus(const std::vector<std::string>& places) {
  std::vector<fs::path> files;
  for (const auto& place : places) {
    if (!fs::is_directory(place)) {
      files.emplace_back(place);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(place))
      if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());      // the order of a folder differs between machines
  std::vector<Bytes> out;
  for (const auto& f : files) {
    std::ifstream in(f, std::ios::binary);
    microtome::fuzz::require(in.good(), "cannot read " + f.string());
    out.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 5;
  uint64_t seed = 1;
  std::vector<std::string> places;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    if (a == "--seconds" && i + 1 < argc) seconds = std::atof(argv[++i]);
    else if (a == "--seed" && i + 1 < argc) seed = std::strtoull(argv[++i], nullptr, 10);
    else places.push_back(a);
  }
  if (const char* s = std::getenv("MICROTOME_FUZZ_SECONDS"); s && *s) seconds = std::atof(s);
  crash_file = "crash-" + fs::path(argv[0]).filename().string() + ".bin";
  __sanitizer_set_death_callback(save_running);
  ::signal(SIGALRM, too_slow);

  const std::vector<Bytes> corpus = read_corpus(places);
  if (corpus.empty()) {
    std::fprintf(stderr, "fuzz: no corpus: name files or folders\n");
    return 2;
  }
  for (const Bytes& input : corpus) run_one(input);
  if (places.size() == 1 && !fs::is_directory(places[0])) return 0;

  Rng rng(seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  uint64_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    Bytes input = rng.pick(corpus);
    for (uint64_t n = 1 + rng.below(1ull << rng.below(5)); n > 0; --n) mutate_once(input, corpus, rng);
    if (input.size() > kMaxInput) input.resize(kMaxInput);
    microtome::fuzz::repair(input, rng);
    run_one(input);
  }
  std::printf("fuzz: %zu files and %llu mutants of seed %llu, none broke it\n", corpus.size(),
              static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed));
  return 0;
}
