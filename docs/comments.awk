# Shows the house's `//` comments to doxygen: the opening block is the file's, every other one belongs to what follows it,
# and one that ends a line to that line. Line numbers stay as they are.
function escaped(text) {
  if (text ~ /^    /) return text  # a code sample
  gsub(/\\/, "\\\\", text)
  gsub(/[@<>#&$%]/, "\\\\&", text)
  return text
}
# What needs no comment of its own gets a line that says whose it is, unless it has one.
function implied(text, line) {
  if (commented || line ~ /^ *\/\//) return line
  return "/** " text " */ " line
}
FNR == 1 && /^\/\// {
  file = FILENAME
  sub(/.*include\//, "", file)
  in_opening = 1
  print "/** \\file " file " \\brief" escaped(substr($0, 3))
  next
}
in_opening && /^\/\// { print escaped(substr($0, 3)); next }
in_opening { in_opening = 0; print "*/ " $0; next }
/^[ \t]*\/\/ -- / { print ""; next }  # a heading inside a class
/^[ \t]*\/\/( |$)/ {
  at = index($0, "//")
  print substr($0, 1, at - 1) "///" escaped(substr($0, at + 2))
  commented = 1
  next
}
# A defaulted or deleted special member says by itself what it does; a written-out copy or move does what its kind says.
/^ .*= (default|delete);/ { print ""; commented = 0; next }
/^ *[A-Z][A-Za-z]*\((const )?[A-Z][A-Za-z]*&&?( other)?\)/ || /^ .* operator=\(/ {
  print implied("Copies or moves, as the parameter says.", $0)
  commented = 0
  next
}
# An override is told by its base.
/^ .*\) (const |noexcept )*(override|final)[; ]/ {
  print implied("As the base says.", $0)
  commented = 0
  next
}
{ commented = 0 }
match($0, /[;,{}] +\/\/ /) {
  print substr($0, 1, RSTART) " ///< " escaped(substr($0, RSTART + RLENGTH))
  next
}
{ print }
