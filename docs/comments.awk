# Shows the house's `//` comments to doxygen: the opening block is the file's, every other one belongs to what follows it,
# and one that ends a line to that line. Line numbers stay as they are.
function escaped(text) {
  if (text ~ /^    /) return text  # a code sample
  gsub(/\\/, "\\\\", text)
  gsub(/[@<>#&$%]/, "\\\\&", text)
  return text
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
/^[ \t]*\/\/( |$)/ {
  at = index($0, "//")
  print substr($0, 1, at - 1) "///" escaped(substr($0, at + 2))
  next
}
# A defaulted or deleted special member says by itself what it does.
/^ .*= (default|delete);/ { print ""; next }
match($0, /[;,{}] +\/\/ /) {
  print substr($0, 1, RSTART) " ///< " escaped(substr($0, RSTART + RLENGTH))
  next
}
{ print }
