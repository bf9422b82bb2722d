// next_tokens.h — asks the open models what comes next after the selected pair of prompts, and keeps the answers until model,
// prompt or question change. Work runs in the "light" lane; GUI thread only.
#pragma once

#include <QObject>
#include <vector>

#include "app/desktop/panels/prompts/next_token_view.h"
#include "app/desktop/session/session.h"

namespace microtome::desktop {

enum class AfterPrompt { kClean, kCorrupted, kBoth };

class NextTokenSource : public QObject {
  Q_OBJECT
 public:
  NextTokenSource(Session& session, QObject* parent) : QObject(parent), session_(session) {}
  // Asks for what is not known yet; `changed` follows.
  void ask(AfterPrompt after);
  // A column for each model and prompt, in order.
  std::vector<NextTokenColumn> columns(AfterPrompt after) const;

 Q_SIGNALS:
  void changed();

 private:
  struct Question {
    app::ModelPtr model;
    std::vector<int64_t> ids, right, wrong;
    bool operator==(const Question&) const = default;
  };
  struct Answer {
    Question question;
    bool asked = false, known = false;
    app::NextTokens tokens;
    QString problem;
  };
  static Question questionFor(const app::ModelPtr& model, const PromptPair& pair, bool corrupted);
  void post(int slot, bool corrupted);
  Session& session_;
  Answer answers_[Session::kSlots][2];  // [slot][corrupted]
};

}  // namespace microtome::desktop
