// command_palette.h — find anything (Ctrl+K): panels, actions, analyses, tasks, runs, hook points, by any part of their names.
#pragma once

#include <QFrame>
#include <functional>
#include <vector>

class QLineEdit;
class QListWidget;

namespace microtome::desktop {

struct PaletteEntry {
  QString kind, title, detail;         // "analysis", "Activation patching", "activation_patching"
  std::function<void()> act;
};

// All words of `query` occur in kind, title or detail, in any order and case; better matches first: a title that begins with
// the query, then one that holds it, then the rest, each in the given order.
std::vector<const PaletteEntry*> matchEntries(const std::vector<PaletteEntry>& entries, const QString& query, size_t most);

class CommandPalette : public QFrame {
  Q_OBJECT
 public:
  CommandPalette(QWidget* window, std::function<std::vector<PaletteEntry>()> entries);
  void open();

 protected:
  bool eventFilter(QObject* watched, QEvent* event) override;
  void paintEvent(QPaintEvent* event) override;

 private:
  void fill();
  void accept();
  std::function<std::vector<PaletteEntry>()> source_;
  std::vector<PaletteEntry> entries_;
  std::vector<const PaletteEntry*> shown_;
  QLineEdit* field_;
  QListWidget* list_;
};

}  // namespace microtome::desktop
