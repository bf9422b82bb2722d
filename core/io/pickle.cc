#include "core/io/pickle.h"

#include <algorithm>
#include <limits>

#include "core/base/quote.h"

namespace microtome::pickle {
namespace {

constexpr size_t kMaxValues = size_t{1} << 22;      // a tensor takes about ten
constexpr size_t kMaxItems = size_t{1} << 24;       // of all containers and shapes together: a memo can repeat them
constexpr size_t kMaxArguments = 8;
constexpr size_t kMaxStack = size_t{1} << 20;
constexpr size_t kMaxRank = 64;                     // LibTorch's
constexpr size_t kMaxGlobalName = 256;
constexpr char kResave[] = "re-save the model as safetensors: model.save_pretrained(FOLDER, safe_serialization=True)";

enum class Callable { kOrderedDict, kSize, kRebuild, kRebuildV2, kRebuildV3, kParameter, kStorageType, kDType };

struct Global {
  const char* module;
  const char* name;
  Callable what;
  std::optional<DType> dtype = {};      // of a storage type: empty means untyped
};
constexpr Global kGlobals[] = {
    {"collections", "OrderedDict", Callable::kOrderedDict},
    {"torch", "Size", Callable::kSize},
    {"torch._utils", "_rebuild_tensor", Callable::kRebuild},
    {"torch._utils", "_rebuild_tensor_v2", Callable::kRebuildV2},
    {"torch._utils", "_rebuild_tensor_v3", Callable::kRebuildV3},
    {"torch._utils", "_rebuild_parameter", Callable::kParameter},
    {"torch", "DoubleStorage", Callable::kStorageType, DType::kF64},
    {"torch", "FloatStorage", Callable::kStorageType, DType::kF32},
    {"torch", "HalfStorage", Callable::kStorageType, DType::kF16},
    {"torch", "BFloat16Storage", Callable::kStorageType, DType::kBF16},
    {"torch", "LongStorage", Callable::kStorageType, DType::kI64},
    {"torch", "IntStorage", Callable::kStorageType, DType::kI32},
    {"torch", "ShortStorage", Callable::kStorageType, DType::kI16},
    {"torch", "CharStorage", Callable::kStorageType, DType::kI8},
    {"torch", "ByteStorage", Callable::kStorageType, DType::kU8},
    {"torch", "BoolStorage", Callable::kStorageType, DType::kBool},
    {"torch.storage", "UntypedStorage", Callable::kStorageType},
    {"torch", "UntypedStorage", Callable::kStorageType},
    {"torch", "float64", Callable::kDType, DType::kF64},
    {"torch", "float32", Callable::kDType, DType::kF32},
    {"torch", "float16", Callable::kDType, DType::kF16},
    {"torch", "bfloat16", Callable::kDType, DType::kBF16},
    {"torch", "float8_e4m3fn", Callable::kDType, DType::kF8E4M3},
    {"torch", "float8_e5m2", Callable::kDType, DType::kF8E5M2},
    {"torch", "int64", Callable::kDType, DType::kI64},
    {"torch", "int32", Callable::kDType, DType::kI32},
    {"torch", "int16", Callable::kDType, DType::kI16},
    {"torch", "int8", Callable::kDType, DType::kI8},
    {"torch", "uint8", Callable::kDType, DType::kU8},
    {"torch", "bool", Callable::kDType, DType::kBool},
    {"torch", "uint16", Callable::kDType, DType::kU16},
    {"torch", "uint32", Callable::kDType, DType::kU32},
    {"torch", "uint64", Callable::kDType, DType::kU64},
};

class Machine {
 public:
  Machine(std::span<const uint8_t> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  Stream run() {
    for (;;) {
      start_ = at_;
      const uint8_t op = take(1)[0];
      if (op == '.') break;
      step(op);
      if (stack_.size() + marks_.size() > kMaxStack) bad("its stack grows beyond " + std::to_string(kMaxStack));
    }
    if (!marks_.empty()) bad("it stops inside a container");
    out_.top = pop();
    out_.end = at_;
    return std::move(out_);
  }

 private:
  std::string here() const { return where_ + ", pickle byte " + std::to_string(start_); }
  [[noreturn]] void bad(const std::string& what) const {
    throw Error(StatusCode::kBadInput, "the pickle is damaged: " + what, here(),
                "the file may be cut short; download it again");
  }
  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(StatusCode::kUnsupported, what, here(), kResave);
  }

  const uint8_t* take(uint64_t n) {
    if (n > bytes_.size() - at_) bad("it ends within an item of " + std::to_string(n) + " bytes");
    const uint8_t* p = bytes_.data() + at_;
    at_ += static_cast<size_t>(n);
    return p;
  }
  uint64_t number(int bytes) {
    const uint8_t* p = take(static_cast<uint64_t>(bytes));
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; --i) v = v << 8 | p[i];
    return v;
  }
  std::string_view text(int length_bytes) {
    const uint64_t n = number(length_bytes);
    return {reinterpret_cast<const char*>(take(n)), static_cast<size_t>(n)};
  }
  std::string_view line() {
    const size_t most = std::min(bytes_.size() - at_, kMaxGlobalName + 1);
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_, most);
    const size_t n = rest.find('\n');
    if (n == rest.npos) bad("the name of a global has no end");
    at_ += n + 1;
    return rest.substr(0, n);
  }

  void count_items(size_t n) {
    items_ += n;
    if (items_ > kMaxItems) unsupported("the pickle's containers hold more than " + std::to_string(kMaxItems) + " items");
  }
  uint32_t add(Kind kind, int64_t n = 0, std::string_view s = {}, std::vector<uint32_t> items = {}) {
    if (out_.values.size() >= kMaxValues)
      unsupported("the pickle holds more than " + std::to_string(kMaxValues) + " values");
    count_items(items.size());
    out_.values.push_back({kind, n, s, std::move(items)});
    return static_cast<uint32_t>(out_.values.size() - 1);
  }
  void push(uint32_t value) { stack_.push_back(value); }
  // Values above the last mark only: Python keeps a stack for each mark.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  uint32_t pop() {
    if (stack_.size() <= floor()) bad("an item is missing on its stack");
    const uint32_t v = stack_.back();
    stack_.pop_back();
    return v;
  }
  uint32_t top() const {
    if (stack_.size() <= floor()) bad("an item is missing on its stack");
    return stack_.back();
  }
  std::vector<uint32_t> pop_mark() {
    if (marks_.empty()) bad("a mark is missing on its stack");
    std::vector<uint32_t> items(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }
  Value& value(uint32_t i) { return out_.values[i]; }
  const std::vector<uint32_t>& items_of(uint32_t i, Kind kind, const char* what) {
    if (value(i).kind != kind) bad(std::string(what) + " is of another kind than expected");
    return value(i).items;
  }
  uint64_t size_of(uint32_t i, const char* what) {
    const Value& v = value(i);
    if (v.kind != Kind::kInt || v.number < 0) bad(std::string(what) + " is no integer from 0 on");
    return static_cast<uint64_t>(v.number);
  }
  std::vector<int64_t> sizes_of(uint32_t i, const char* what) {
    const std::vector<uint32_t>& items = items_of(i, Kind::kTuple, what);
    if (items.size() > kMaxRank) bad(std::string(what) + " has more than " + std::to_string(kMaxRank) + " dimensions");
    count_items(2 * items.size());
    std::vector<int64_t> out;
    for (const uint32_t item : items) out.push_back(static_cast<int64_t>(size_of(item, what)));
    return out;
  }

  void memoize(uint64_t index) {
    // An honest index counts values before it, each of which took a byte.
    if (index >= bytes_.size()) bad("memo index " + std::to_string(index) + " is beyond its length");
    if (index >= memo_.size()) memo_.resize(static_cast<size_t>(index) + 1, kNone);
    memo_[static_cast<size_t>(index)] = top();
  }
  void recall(uint64_t index) {
    if (index >= memo_.size() || memo_[static_cast<size_t>(index)] == kNone)
      bad("memo index " + std::to_string(index) + " was never set");
    push(memo_[static_cast<size_t>(index)]);
  }

  void extend(uint32_t to, Kind kind, const std::vector<uint32_t>& items) {
    Value& v = value(to);
    if (v.kind != kind) bad("items are added to something that is no container");
    count_items(items.size());
    if (kind == Kind::kDict && items.size() % 2 != 0) bad("a dictionary gets a key without a value");
    v.items.insert(v.items.end(), items.begin(), items.end());
  }

  void push_global(std::string_view module, std::string_view name) {
    for (size_t i = 0; i < std::size(kGlobals); ++i)
      if (module == kGlobals[i].module && name == kGlobals[i].name)
        return push(add(Kind::kGlobal, static_cast<int64_t>(i)));
    unsupported("the pickle names the Python global " + in_quotes(std::string(module) + "." + std::string(name)) +
                ", which is not read and was not called (only tensors, their storages and types, and OrderedDict are)");
  }
  const Global* global_of(uint32_t i) {
    return value(i).kind == Kind::kGlobal ? &kGlobals[value(i).number] : nullptr;
  }

  void reduce() {
    const uint32_t arguments = pop(), callable = pop();
    const Global* g = global_of(callable);
    if (!g) bad("something that is no global is called");
    if (items_of(arguments, Kind::kTuple, "an argument list").size() > kMaxArguments) bad("a call has too many arguments");
    const std::vector<uint32_t> args = value(arguments).items;
    switch (g->what) {
      case Callable::kOrderedDict: return push(ordered_dict(args));
      case Callable::kSize:
        if (args.size() != 1) bad("torch.Size has not one argument");
        items_of(args[0], Kind::kTuple, "the argument of torch.Size");
        return push(args[0]);
      case Callable::kRebuild: return push(tensor(args, 4, 4, false));
      case Callable::kRebuildV2: return push(tensor(args, 6, 7, false));
      case Callable::kRebuildV3: return push(tensor(args, 7, 8, true));
      case Callable::kParameter:
        if (args.size() != 3) bad("a parameter has not three arguments");
        if (value(args[0]).kind != Kind::kTensor) bad("a parameter holds no tensor");
        return push(args[0]);
      case Callable::kStorageType:
      case Callable::kDType: bad(std::string("the type ") + g->module + "." + g->name + " is called");
    }
  }

  // Python 2 gave the pairs as the only argument; Python 3 sets them afterwards.
  uint32_t ordered_dict(const std::vector<uint32_t>& args) {
    if (args.size() > 1) bad("OrderedDict has more than one argument");
    std::vector<uint32_t> items;
    if (args.size() == 1) {
      count_items(2 * value(args[0]).items.size());
      for (const uint32_t pair : items_of(args[0], Kind::kList, "the argument of OrderedDict")) {
        const Value& v = value(pair);
        if ((v.kind != Kind::kList && v.kind != Kind::kTuple) || v.items.size() != 2)
          bad("OrderedDict is made of something else than pairs");
        items.insert(items.end(), v.items.begin(), v.items.end());
      }
    }
    return add(Kind::kDict, 0, {}, std::move(items));
  }

  // (storage, offset, sizes, strides, requires_grad, hooks[, dtype][, metadata])
  uint32_t tensor(const std::vector<uint32_t>& args, size_t least, size_t most, bool typed) {
    if (args.size() < least || args.size() > most)
      bad("a tensor has " + std::to_string(args.size()) + " arguments");
    if (value(args[0]).kind != Kind::kStorage) bad("a tensor has no storage");
    TensorRef t;
    t.storage = static_cast<uint32_t>(value(args[0]).number);
    t.offset = size_of(args[1], "a tensor's offset");
    t.shape = sizes_of(args[2], "a tensor's shape");
    t.strides = sizes_of(args[3], "a tensor's strides");
    if (t.shape.size() != t.strides.size()) bad("a tensor's shape and strides differ in length");
    std::optional<DType> dtype = out_.storages[t.storage].dtype;
    if (typed) {
      const Global* g = global_of(args[6]);
      if (!g || g->what != Callable::kDType) bad("a tensor's type is none");
      dtype = g->dtype;
    }
    if (!dtype) bad("a tensor over an untyped storage has no type");
    t.dtype = *dtype;
    // Metadata says that the values are to be negated or conjugated on reading.
    if (args.size() == most && most > least) {
      const Value& m = value(args.back());
      if (m.kind != Kind::kNone && !(m.kind == Kind::kDict && m.items.empty()))
        unsupported("the pickle holds a tensor that is to be changed on reading (its 'metadata' is set)");
    }
    out_.tensors.push_back(std::move(t));
    return add(Kind::kTensor, static_cast<int64_t>(out_.tensors.size() - 1));
  }

  // ('storage', type, key, location, count[, None or (key, first, count) of a view])
  uint32_t storage(uint32_t id) {
    const std::vector<uint32_t>& parts = items_of(id, Kind::kTuple, "a persistent id");
    const auto is_text = [&](size_t i) { return value(parts[i]).kind == Kind::kText; };
    if (parts.size() < 5 || parts.size() > 6 || !is_text(0) || value(parts[0]).text != "storage" || !is_text(2))
      unsupported("the pickle holds a persistent id that is no storage");
    const Global* g = global_of(parts[1]);
    if (!g || g->what != Callable::kStorageType) bad("a storage has no type");
    StorageRef s;
    s.key = value(parts[2]).text;
    s.dtype = g->dtype;
    s.count = s.used = size_of(parts[4], "the size of a storage");
    if (parts.size() == 6 && value(parts[5]).kind != Kind::kNone) {
      const std::vector<uint32_t>& view = items_of(parts[5], Kind::kTuple, "a view of a storage");
      if (view.size() != 3) bad("a view of a storage is not (key, first, count)");
      s.first = size_of(view[1], "the first element of a view");
      s.used = size_of(view[2], "the size of a view");
      if (s.first > s.count || s.used > s.count - s.first) bad("a view leaves its storage");
    }
    out_.storages.push_back(s);
    return add(Kind::kStorage, static_cast<int64_t>(out_.storages.size() - 1));
  }

  // The state that follows an OrderedDict is its attributes (_metadata: versions of modules); no weight depends on them.
  void build() {
    pop();
    if (value(top()).kind != Kind::kDict) unsupported("the pickle sets the state of something that is no OrderedDict");
  }

  void push_long(uint64_t n) {
    const std::string_view digits(reinterpret_cast<const char*>(take(n)), static_cast<size_t>(n));
    if (n > 8) return push(add(Kind::kBig, 0, digits));
    uint64_t v = n > 0 && (static_cast<uint8_t>(digits.back()) & 0x80) ? ~uint64_t{0} : 0;
    for (size_t i = digits.size(); i-- > 0;) v = v << 8 | static_cast<uint8_t>(digits[i]);
    push(add(Kind::kInt, static_cast<int64_t>(v)));
  }

  void push_tuple(size_t n) {
    std::vector<uint32_t> items(n);
    for (size_t i = n; i-- > 0;) items[i] = pop();
    push(add(Kind::kTuple, 0, {}, std::move(items)));
  }

  void step(uint8_t op) {
    switch (op) {
      case 0x80: {                                                                    // PROTO
        const uint64_t protocol = number(1);
        if (protocol < 2 || protocol > 5)
          unsupported("the pickle is of protocol " + std::to_string(protocol) + "; 2 to 5 are read");
        return;
      }
      case 0x95:                                                                      // FRAME
        if (number(8) > bytes_.size() - at_) bad("a frame is longer than the rest of it");
        return;
      case '(': marks_.push_back(stack_.size()); return;                              // MARK
      case '0': pop(); return;                                                        // POP
      case '1': pop_mark(); return;                                                   // POP_MARK
      case 'N': return push(add(Kind::kNone));                                        // NONE
      case 0x88: return push(add(Kind::kBool, 1));                                    // NEWTRUE
      case 0x89: return push(add(Kind::kBool, 0));                                    // NEWFALSE
      case 'K': return push(add(Kind::kInt, static_cast<int64_t>(number(1))));        // BININT1
      case 'M': return push(add(Kind::kInt, static_cast<int64_t>(number(2))));        // BININT2
      case 'J': return push(add(Kind::kInt, static_cast<int32_t>(number(4))));        // BININT
      case 0x8a: return push_long(number(1));                                         // LONG1
      case 0x8b: return push_long(number(4));                                         // LONG4
      case 'G': take(8); return push(add(Kind::kFloat));                              // BINFLOAT: nothing asks its value
      case 0x8c: return push(add(Kind::kText, 0, text(1)));                           // SHORT_BINUNICODE
      case 'X': return push(add(Kind::kText, 0, text(4)));                            // BINUNICODE
      case 0x8d: return push(add(Kind::kText, 0, text(8)));                           // BINUNICODE8
      case 'U': return push(add(Kind::kText, 0, text(1)));                            // SHORT_BINSTRING, of Python 2
      case 'T': return push(add(Kind::kText, 0, text(4)));                            // BINSTRING
      case 'C': return push(add(Kind::kBytes, 0, text(1)));                           // SHORT_BINBYTES
      case 'B': return push(add(Kind::kBytes, 0, text(4)));                           // BINBYTES
      case 0x8e: return push(add(Kind::kBytes, 0, text(8)));                          // BINBYTES8
      case 0x96: return push(add(Kind::kBytes, 0, text(8)));                          // BYTEARRAY8
      case ')': return push(add(Kind::kTuple));                                       // EMPTY_TUPLE
      case ']': return push(add(Kind::kList));                                        // EMPTY_LIST
      case 0x8f: return push(add(Kind::kList));                                       // EMPTY_SET
      case '}': return push(add(Kind::kDict));                                        // EMPTY_DICT
      case 0x85: return push_tuple(1);                                                // TUPLE1
      case 0x86: return push_tuple(2);                                                // TUPLE2
      case 0x87: return push_tuple(3);                                                // TUPLE3
      case 't':                                                                       // TUPLE
      case 0x91: return push(add(Kind::kTuple, 0, {}, pop_mark()));                   // FROZENSET
      case 'a': {                                                                     // APPEND
        const uint32_t item = pop();
        return extend(top(), Kind::kList, {item});
      }
      case 'e':                                                                       // APPENDS
      case 0x90: {                                                                    // ADDITEMS
        const std::vector<uint32_t> items = pop_mark();
        return extend(top(), Kind::kList, items);
      }
      case 's': {                                                                     // SETITEM
        const uint32_t item = pop(), key = pop();
        return extend(top(), Kind::kDict, {key, item});
      }
      case 'u': {                                                                     // SETITEMS
        const std::vector<uint32_t> items = pop_mark();
        return extend(top(), Kind::kDict, items);
      }
      case 'q': return memoize(number(1));                                            // BINPUT
      case 'r': return memoize(number(4));                                            // LONG_BINPUT
      case 0x94: return memoize(memo_.size());                                        // MEMOIZE
      case 'h': return recall(number(1));                                             // BINGET
      case 'j': return recall(number(4));                                             // LONG_BINGET
      case 'c': {                                                                     // GLOBAL
        const std::string_view module = line();
        return push_global(module, line());
      }
      case 0x93: {                                                                    // STACK_GLOBAL
        const uint32_t name = pop(), module = pop();
        if (value(name).kind != Kind::kText || value(module).kind != Kind::kText) bad("the name of a global is no text");
        return push_global(value(module).text, value(name).text);
      }
      case 'R': return reduce();                                                      // REDUCE
      case 'b': return build();                                                       // BUILD
      case 'Q': return push(storage(pop()));                                          // BINPERSID
      default: {
        static constexpr char kHex[] = "0123456789abcdef";
        unsupported(std::string("the pickle uses opcode 0x") + kHex[op >> 4] + kHex[op & 15] +
                    ", which the pickles of tensors do not need");
      }
    }
  }

  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  std::span<const uint8_t> bytes_;
  const std::string& where_;
  size_t at_ = 0, start_ = 0, items_ = 0;
  Stream out_;
  std::vector<uint32_t> stack_, memo_;
  std::vector<size_t> marks_;
};

}  // namespace

Stream read_stream(std::span<const uint8_t> bytes, const std::string& where) { return Machine(bytes, where).run(); }

}  // namespace microtome::pickle
