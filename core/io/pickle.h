// pickle.h — Python's pickle stream, protocols 2 to 5, read as data: numbers, texts, tuples, lists, dictionaries and
// PyTorch's tensors. Nothing is imported or called: the few globals that a state dict needs are known by name, every
// other one is refused. Format: the opcode descriptions of Python's pickletools.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/io/safetensors.h"

namespace microtome::pickle {

enum class Kind : uint8_t {
  kNone, kBool, kInt, kFloat, kText, kBytes,
  kBig,               // an integer beyond 64 bits: its little-endian two's complement in `text`
  kTuple, kList,      // sets are lists, frozen ones tuples
  kDict,              // items: key, value, key, value … as they were set, twins included
  kGlobal, kStorage, kTensor
};

struct Value {
  Kind kind = Kind::kNone;
  int64_t number = 0;                 // kBool, kInt; index into storages or tensors; which global
  std::string_view text;              // inside the stream
  std::vector<uint32_t> items;        // indices into Stream::values; cycles are possible
};

// What a persistent id says of a storage. All counts are elements of `dtype`, bytes for an untyped storage.
struct StorageRef {
  std::string_view key;
  std::optional<DType> dtype;         // empty: untyped
  uint64_t count = 0;                 // of the whole storage
  uint64_t first = 0, used = 0;       // the part that is meant: all of it, but for the views of old files
  uint64_t element_size() const { return dtype ? dtype_size(*dtype) : 1; }
};

struct TensorRef {
  uint32_t storage = 0;               // index into Stream::storages
  DType dtype = DType::kF32;
  uint64_t offset = 0;                // elements from the storage's `first`
  std::vector<int64_t> shape, strides;   // none negative, of one length
};

// Texts are views of the bytes that were read.
struct Stream {
  std::vector<Value> values;
  std::vector<StorageRef> storages;
  std::vector<TensorRef> tensors;
  uint32_t top = 0;                   // index of the result
  size_t end = 0;                     // bytes read, STOP included
  const Value& result() const { return values[top]; }
};

// Reads one pickle from the front of `bytes`. Time and memory are linear in the bytes read. Sizes of tensors are not yet
// held against their storages. Throws Error(kBadInput) for a damaged stream, Error(kUnsupported) naming a global or an
// opcode that is not read.
Stream read_stream(std::span<const uint8_t> bytes, const std::string& where);

}  // namespace microtome::pickle
