// cell_pane.h — below the grids: one cell on the selected prompt, in a sentence and in tokens; the strongest cells as a table; what the
// analysis found, in words.
#pragma once

#include <QWidget>
#include <optional>

#include "app/desktop/panels/patching/cell_runs.h"
#include "app/desktop/panels/patching/column.h"
#include "app/desktop/panels/patching/token_columns.h"

class QLabel;
class QScrollArea;
class QStackedWidget;
class QTabBar;
class QToolButton;

namespace microtome::desktop {

class TableView;
class TextView;

class CellPane : public QWidget {
  Q_OBJECT
 public:
  CellPane(Panel& panel, QWidget* parent);
  // shown: null or without a grid: nothing to see yet. named: the model's name belongs into the sentence.
  void show(const ShownGrid* shown, int slot, const PatchCell& cell, PromptScope scope, bool named);
  std::vector<View*> views() const;
  int page() const;
  void setPage(int page);
  // The position of the grid in a prompt of so many tokens; negative: before it begins. -1 stays: no such axis.
  static int64_t inPrompt(const EffectGrid& grid, int64_t pos, int64_t tokens);

 Q_SIGNALS:
  void cellWanted(const PatchCell& cell);              // from the table

 private:
  void compose();
  void composeTokens(const PromptPair* pair);
  void composeWords(const PromptPair* pair);
  void showFindings();
  std::optional<app::CellRequest> intervention(const PromptPair& pair, QString* why) const;
  bool ablation() const { return shown_.request.analysis == QLatin1String("ablation"); }
  bool fromClean() const { return ablation() || shown_.request.noise(); }       // the run that is changed
  QString place(const PromptPair* pair) const;
  QString metricText(const PromptPair& pair) const;
  Session& session_;
  CellRuns* runs_;
  QTabBar* tabs_;
  QToolButton* finding_;
  QStackedWidget* pages_;
  QLabel *sentence_, *detail_;
  QScrollArea* scroll_;
  TokenColumns* tokens_;
  TableView* table_;
  TextView* findings_;
  ShownGrid shown_;
  std::shared_ptr<const EffectGrid> listed_;           // whose table and findings are shown
  PatchCell cell_;
  PromptScope scope_ = PromptScope::kOther;
  int slot_ = 0;
  bool named_ = false, has_ = false;
};

}  // namespace microtome::desktop
