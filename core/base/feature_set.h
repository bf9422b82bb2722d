// feature_set.h — dashboards of a dictionary's features (analyses.md: `features`; after Neuronpedia): what each fires on,
// how often and how strongly, what it writes to the logits, which features are near it. Free of LibTorch.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace microtome {

struct FeatureSet {
  // A stretch of text in which the feature fires, with its activation on every token of the stretch.
  struct Example {
    std::string band;                        // "top", or the quantile band it was drawn from: "0.50–0.75"
    int64_t sequence = 0, position = 0;      // where in the corpus: sequence, and absolute position of the strongest token
    int64_t strongest = 0;                   // index of that token within `ids`
    std::vector<int64_t> ids;
    std::vector<float> activations;          // as long as ids
  };
  struct TokenScore { int64_t id = 0; double value = 0; };
  struct Neighbour { int64_t feature = 0; double value = 0; };
  struct Feature {
    int64_t index = 0;
    std::string label;                       // a person's words; empty: none yet
    double density = 0;                      // share of the corpus's tokens it fires on
    double max = 0, mean = 0;                // over the tokens it fires on
    std::vector<int64_t> histogram;          // counts of activations > 0, equal bins from 0 to max
    std::vector<TokenScore> top_logits, bottom_logits;   // decoder direction times unembedding, strongest first
    std::vector<Neighbour> neighbours;       // by cosine of the decoder directions, nearest first
    std::vector<Neighbour> coactive;         // by correlation of activity over tokens (phi), strongest first
    std::vector<Example> examples;           // strongest first, then by band
  };
  std::string name, title;
  std::string dictionary, hook;              // the dictionary's own name; the point it reads
  int64_t d_sae = 0, tokens_seen = 0;
  std::map<int64_t, std::string> token_texts;   // of every id above
  std::vector<Feature> features;             // by index; those looked at, not always all
};

}  // namespace microtome
