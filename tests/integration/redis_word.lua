local function word()
  return 'mihwar'
end
