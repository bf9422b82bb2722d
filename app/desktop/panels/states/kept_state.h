// kept_state.h — one recurrent head over the selected prompt, read off a finished run of `states` with keep=L.H: the states and
// writes token by token, the numbers a token, the eigenvalues. Immutable, shared.
#pragma once

#include <QString>
#include <QStringList>
#include <memory>
#include <vector>

#include "app/desktop/session/session.h"

namespace microtome::desktop {

struct KeptState {
  int layer = 0, head = 0;             // head: of the state (key/value head)
  int64_t tokens = 0, d_k = 0, d_v = 0;
  QStringList texts;                   // one a token
  struct Number {
    QString name, unit, help;
    std::vector<double> values;        // one a token; NaN: none
  };
  std::vector<Number> numbers;         // norm, effective_rank, write_norm …
  // Complex eigenvalues of the product of all transitions up to a token, [token][d_k]; empty: not known for this mixer.
  std::vector<double> eigenRe, eigenIm;
  QString eigenHelp;

  enum class What { kState, kWrite, kChange };
  // [d_k, d_v] at a token. kChange: the state minus the one before.
  std::shared_ptr<const std::vector<float>> matrix(What what, int64_t token) const;
  // The largest absolute value over all tokens, so that one scale serves the whole film.
  double largest(What what) const;

  // Null where the run holds no such head, or sizes that do not fit.
  static std::shared_ptr<const KeptState> read(const RunViewPtr& run, int layer, int head);

 private:
  std::shared_ptr<const RunView> run_;
  const std::vector<float>*state_ = nullptr, *write_ = nullptr;
};

}  // namespace microtome::desktop
