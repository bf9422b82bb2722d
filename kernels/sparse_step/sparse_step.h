// sparse_step.h — the middle of a training step of a sparse dictionary on a GPU, from the chosen features to the gradients, in three
// passes, each of which reads what it needs once: decode (output, error, loss, gradient of the codes), group (entries by feature),
// gradients (of a feature's two rows at once, with their squares). No atomics reach a result: equal numbers give equal bits.
#pragma once

#include <cstdint>

namespace microtome::kernels {

constexpr int kMostLevels = 8;

// Entries of a batch, in the order of their rows; those of a row have different columns. An entry with column -1 is none.
struct ChosenCodes {
  int64_t rows = 0, features = 0, entries = 0;
  int64_t per_row = 0;                 // entries of every row; 0: row_from says
  const int32_t* row_from = nullptr;   // [rows + 1]
  const int32_t* row = nullptr;        // [entries]; needed where per_row is 0
  const int32_t* column = nullptr;     // [entries]
  const float* value = nullptr;        // [entries]
  const float* norms = nullptr;        // [features]: codes are value / norms; null: value
  // Nested dictionaries: level l's features end before ends[l]; the last end is `features`. One level: a plain dictionary.
  int levels = 1;
  int64_t ends[kMostLevels] = {};
};

// For every row: out_l = bias + base + Σ over entries of levels ≤ l of code · w[column]; error_l = out_l - target;
// at_out_l = factor · Σ_{m ≥ l} error_m; at_code = at_out_level · w[column].
struct DecodeStep {
  ChosenCodes codes;
  int64_t width = 0;                   // a multiple of 4
  const void* w = nullptr;             // [features, width], bfloat16 or float32
  bool bfloat16 = false;
  const float* bias = nullptr;         // [width]
  const float* base = nullptr;         // [rows, width]; null: 0
  const float* target = nullptr;       // [rows, width]
  float factor = 1;
  float* at_out = nullptr;             // out [levels, rows, width]
  void* at_out_bfloat16 = nullptr;     // the same, rounded; null: not wanted
  float* at_code = nullptr;            // out [entries]; 0 where there is none
  float* sums = nullptr;               // out [3, rows]: Σ_l |error_l|², |error_last|², number of entries
};

// By feature, ascending rows within one.
struct GroupedEntry { int32_t row; float code, at_code; int32_t unused; };
struct GroupStep {
  ChosenCodes codes;
  const float* at_code = nullptr;      // [entries]
  uint16_t* counts = nullptr;          // workspace of group_parts(entries) * features
  int32_t* local = nullptr;            // workspace [features]
  int32_t* blocks = nullptr;           // workspace [features / 256 + 1]
  int32_t* from = nullptr;             // out [features + 1]
  GroupedEntry* grouped = nullptr;     // out [entries]
};
inline int64_t group_part(int64_t entries) { return entries <= 1024 * 256 ? 1024 : (entries / 256 + 1024) / 1024 * 1024; }   // entries a part
inline int64_t group_parts(int64_t entries) { return (entries + group_part(entries) - 1) / group_part(entries); }

// of_dec[f] = Σ code · at_out_level[row], of_enc[f] = Σ at_code · x[row], of_bias[f] = Σ at_code, each plus `extra`'s row where slot[f] ≥ 0.
struct GradientStep {
  int64_t rows = 0, features = 0, entries = 0;
  int levels = 1;
  int64_t ends[kMostLevels] = {};
  const int32_t* from = nullptr;
  const GroupedEntry* grouped = nullptr;
  int64_t width_out = 0, width_in = 0; // multiples of 4
  bool bfloat16 = false;               // type of at_out and x
  const void* at_out = nullptr;        // [levels, rows, width_out]
  const void* x = nullptr;             // [rows, width_in]
  const int32_t* slot = nullptr;       // [features]; null: no extra
  const float* extra_dec = nullptr;    // [slots, width_out]
  const float* extra_enc = nullptr;    // [slots, width_in]
  const float* extra_bias = nullptr;   // [slots]
  const float* across = nullptr;       // W_dec [features, width_out]: the part of of_dec along its row is taken off; null: not
  bool zero_rows = false;              // rows without entries are written as 0; else not at all
  int32_t* longest = nullptr;          // workspace [features + 1]
  float* of_dec = nullptr;             // out [features, width_out]
  float* of_enc = nullptr;             // out [features, width_in]
  float* of_bias = nullptr;            // out [features]
  float* squares = nullptr;            // out [2, features]: sum of the squares of of_dec's row; of of_enc's and of_bias
  uint8_t* touched = nullptr;          // out [features]: 1 where of_dec and of_enc have a row
  int64_t* silent = nullptr;           // [features], read and replaced: 0 where there are entries, else + rows; null: not wanted
};

// of_bias [width] = Σ_rows at_out - Σ_f of_enc_bias[f] · w_enc[f] (the second where w_enc is given): the gradient of b_dec.
struct BiasStep {
  int64_t rows = 0, features = 0, width = 0;
  const float* at_out = nullptr;       // [rows, width]
  const float* of_enc_bias = nullptr;  // [features]
  const void* w_enc = nullptr;         // [features, width]; null: the encoder does not read b_dec
  bool bfloat16 = false;               // type of w_enc
  float* parts = nullptr;              // workspace [kBiasParts, width]
  float* out = nullptr;                // out [width]
};
constexpr int64_t kBiasParts = 1056;

// Started on a CUDA device's stream; null, "not covered" or the runtime's sentence. Rows of at most 65,535, everything 16-byte aligned.
using DecodeStepCuda = const char* (*)(const DecodeStep& s, int device, void* stream);
using GroupStepCuda = const char* (*)(const GroupStep& s, int device, void* stream);
using GradientStepCuda = const char* (*)(const GradientStep& s, int device, void* stream);
using BiasStepCuda = const char* (*)(const BiasStep& s, int device, void* stream);
constexpr char kDecodeStepCudaSymbol[] = "microtome_decode_step_cuda";
constexpr char kGroupStepCudaSymbol[] = "microtome_group_step_cuda";
constexpr char kGradientStepCudaSymbol[] = "microtome_gradient_step_cuda";
constexpr char kBiasStepCudaSymbol[] = "microtome_bias_step_cuda";

}  // namespace microtome::kernels
