// head_line.h — a head's numbers on this prompt: short names, values with units, the definition and the paper as
// tooltips. On one line that wraps, or one below the other beside a picture.
#pragma once

#include <QString>
#include <QWidget>
#include <vector>

#include "core/base/artifact.h"

namespace microtome::desktop {

struct HeadNumberText {
  QString name, value, tip;  // tip: plain text
};

// From the table "heads" of a run of `attention`, whose rows are found by "layer" and "head": what it says of one head,
// in the order in which it is read. Missing cells and columns are left out. source: the analysis's paper.
std::vector<HeadNumberText> headNumberTexts(const AnalysisResult& result, int64_t layer, int64_t head,
                                            const QString& source);

class HeadLine : public QWidget {
  Q_OBJECT
 public:
  explicit HeadLine(QWidget* parent);
  // recurrent: the colour of the mark in front of the title.
  void setHead(const QString& title, bool recurrent, std::vector<HeadNumberText> numbers);
  const QString& title() const { return title_; }
  const std::vector<HeadNumberText>& numbers() const { return numbers_; }
  void setUpright(bool on);  // one below the other
  // Gives way: two columns side by side keep their borders at one height, whatever they say.
  QSize minimumSizeHint() const override;

 private:
  void rebuild();
  QString title_;
  bool recurrent_ = false, upright_ = false;
  std::vector<HeadNumberText> numbers_;
  QWidget* content_ = nullptr;
};

}  // namespace microtome::desktop
