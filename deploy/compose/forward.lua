-- Orthanc sends each film that it receives to cxrd, but none of the results that cxrd sends back.
function OnStoredInstance(instance, tags, metadata, origin)
   local is_film = tags['Modality'] == 'CR' or tags['Modality'] == 'DX'
   if is_film and origin['RemoteAet'] ~= 'CXRD' then
      SendToModality(instance, 'cxrd')
   end
end
